//! The score of a lead: the weighted mean of its signals, worked out without rounding.

use std::cmp::Ordering;

use hashbrown::HashMap;

use super::ratio::Ratio;
use crate::api::PqlSignal;
use crate::model::Number;

/// What a signal was found to be: a count, or for velocities two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) struct Raw {
    pub count: u64,
    /// What the count is divided by. At least 1.
    pub over: u64,
}

impl Raw {
    pub fn of(count: u64) -> Raw {
        Raw { count, over: 1 }
    }

    pub fn of_truth(truth: bool) -> Raw {
        Raw::of(u64::from(truth))
    }
}

/// A score, and whether it reaches the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// From 0 to 1: the double nearest to the true value.
    pub value: f64,
    pub is_qualified: bool,
}

/// How scores come about.
#[derive(Debug)]
pub(super) struct Scorer {
    signals: Vec<WeightedSignal>,
    threshold: Ratio,
}

#[derive(Debug)]
struct WeightedSignal {
    /// The share that it has of all weights.
    weight: Ratio,
    scale: Option<(Ratio, Ratio)>,
}

impl Scorer {
    pub fn new(signals: &[PqlSignal], threshold: Number) -> Scorer {
        let weights = signals.iter().map(|signal| Ratio::from(signal.weight));
        let total = weights.fold(Ratio::new(0, 1), Ratio::plus);
        let weighted = |signal: &PqlSignal| WeightedSignal {
            weight: Ratio::from(signal.weight)
                .over(total.clone())
                .expect("weights are not negative, and one is above 0"),
            scale: signal.scale.map(|(zero, one)| (Ratio::from(zero), Ratio::from(one))),
        };
        Scorer { signals: signals.iter().map(weighted).collect(), threshold: Ratio::from(threshold) }
    }

    pub fn score(&self, raws: &[Raw]) -> Score {
        debug_assert_eq!(raws.len(), self.signals.len());
        let terms = self.signals.iter().zip(raws).map(|(signal, raw)| signal.term(*raw));
        let score = terms.fold(Ratio::new(0, 1), Ratio::plus);
        Score {
            value: score.to_f64().expect("a mean lies within what is averaged"),
            is_qualified: score.compare(&self.threshold) != Ordering::Less,
        }
    }
}

impl WeightedSignal {
    /// What a raw value adds to the score.
    fn term(&self, raw: Raw) -> Ratio {
        let Some((zero, one)) = &self.scale else {
            return if raw.count > 0 { self.weight.clone() } else { Ratio::new(0, 1) };
        };
        let raw = Ratio::new(raw.count, raw.over);
        let width = one.clone().minus(zero.clone());
        let place = raw.minus(zero.clone()).over(width).expect("the ends of a scale differ");
        if place.compare(&Ratio::new(0, 1)) == Ordering::Less {
            return Ratio::new(0, 1);
        }
        if place.compare(&Ratio::new(1, 1)) == Ordering::Greater {
            return self.weight.clone();
        }
        place.times(self.weight.clone())
    }
}

/// Scores that were worked out before: many leads have the same raw values.
#[derive(Debug, Default)]
pub(super) struct KnownScores {
    scores: HashMap<Box<[Raw]>, Score>,
}

impl KnownScores {
    /// Scores that are kept; past it all are forgotten. A few megabytes on each core.
    const COUNT_MAX: usize = 1 << 15;

    pub fn of(&mut self, scorer: &Scorer, raws: &[Raw]) -> Score {
        if let Some(score) = self.scores.get(raws) {
            return *score;
        }
        if self.scores.len() == KnownScores::COUNT_MAX {
            self.scores.clear();
        }
        let score = scorer.score(raws);
        self.scores.insert(raws.into(), score);
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Filter, SignalSource};

    fn signal(weight: &str, scale: Option<(&str, &str)>) -> PqlSignal {
        let number = |text: &str| Number::parse(text).unwrap();
        PqlSignal {
            name: "s".to_owned(),
            weight: number(weight),
            scale: scale.map(|(zero, one)| (number(zero), number(one))),
            source: SignalSource::Profile(Filter::All(Vec::new())),
        }
    }

    fn score(signals: &[PqlSignal], threshold: &str, raws: &[Raw]) -> (f64, bool) {
        let score = Scorer::new(signals, Number::parse(threshold).unwrap()).score(raws);
        (score.value, score.is_qualified)
    }

    #[test]
    fn the_score_is_the_weighted_mean_of_what_signals_are_on_their_scales() {
        let signals = [signal("0.5", Some(("0", "10"))), signal("0.5", None)];
        assert_eq!(score(&signals, "0.75", &[Raw::of(5), Raw::of(1)]), (0.75, true));
        assert_eq!(score(&signals, "0.75", &[Raw::of(99), Raw::of(0)]), (0.5, false));
        let falling = [signal("3", Some(("10", "0")))];
        assert_eq!(score(&falling, "0.7", &[Raw::of(3)]), (0.7, true));
        assert_eq!(score(&falling, "0.7", &[Raw::of(11)]), (0.0, false));
    }

    #[test]
    fn tenths_reach_a_threshold_that_they_add_up_to() {
        let signals = ["0.1", "0.2", "0.7"].map(|weight| signal(weight, None));
        assert_eq!(score(&signals, "0.3", &[Raw::of(1), Raw::of(1), Raw::of(0)]), (0.3, true));
        assert_eq!(score(&signals, "0.9", &[Raw::of(0), Raw::of(4), Raw::of(1)]), (0.9, true));
        let thirds = [signal("1", Some(("0", "3"))), signal("1", Some(("0", "3")))];
        assert_eq!(score(&thirds, "0.5", &[Raw::of(1), Raw::of(2)]), (0.5, true));
    }
}
