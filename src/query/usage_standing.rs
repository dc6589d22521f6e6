//! How somebody stands in a period: what is used of the allowance, when that reached it, and what that is called.

use serde::{Deserialize, Serialize};

use super::key_time;
use super::ratio::Ratio;
use crate::model::{Number, TimeMs};

/// When the events of a period have used an allowance up. One of 0 is never reached: it was from the start.
pub fn reached_at(used: &[u64], allowance: Number) -> Option<TimeMs> {
    let needed = round_up(allowance)?.checked_sub(1)?;
    used.get(needed).map(|key| key_time(*key))
}

/// The least count that is no less; `None` if no count is.
fn round_up(number: Number) -> Option<usize> {
    let whole = match number.exponent() {
        0.. => number.mantissa_at(0)?,
        exponent => {
            let scale = 10_i128.checked_pow(exponent.unsigned_abs());
            // A number so small that the scale does not fit is below 1.
            scale.map_or(1, |scale| number.mantissa().div_euclid(scale) + 1)
        }
    };
    usize::try_from(whole).ok()
}

/// What somebody has used of its allowance in the last period.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub user: u16,
    pub used: u64,
    pub allowance: Number,
    pub reached: Option<TimeMs>,
    pub upgraded: Option<TimeMs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Ok,
    Near,
    Over,
}

pub const STATUSES: [(&str, Status); 3] =
    [("ok", Status::Ok), ("near", Status::Near), ("over", Status::Over)];

impl Status {
    pub fn name(self) -> &'static str {
        STATUSES.iter().find(|(_, status)| *status == self).expect("every status has a name").0
    }
}

impl Standing {
    pub fn status(&self, near: Number) -> Status {
        let allowance = Ratio::from(self.allowance);
        let has_used = |part: &Ratio| Ratio::new(self.used, 1).compare(part).is_ge();
        if has_used(&allowance) {
            Status::Over
        } else if has_used(&allowance.times(Ratio::from(near))) {
            Status::Near
        } else {
            Status::Ok
        }
    }

    /// `None` of an allowance of 0.
    pub fn share(&self) -> Option<f64> {
        Ratio::new(self.used, 1).over(Ratio::from(self.allowance))?.to_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    #[test]
    fn an_allowance_is_reached_with_the_event_that_makes_it_full() {
        let used: Vec<u64> = (1..=4).map(|time| key(0, time)).collect();
        let reached = |allowance: &str| reached_at(&used, Number::parse(allowance).unwrap());
        assert_eq!(reached("1"), Some(1));
        assert_eq!(reached("2.5"), Some(3));
        assert_eq!(reached("0.001"), Some(1));
        assert_eq!(reached("4"), Some(4));
        assert_eq!(reached("4.0001"), None);
        assert_eq!(reached("1e300"), None);
        assert_eq!(reached("1e-300"), Some(1));
        assert_eq!(reached("0"), None);
    }

    #[test]
    fn near_is_judged_without_rounding() {
        let status = |used: u64, allowance: &str, near: &str| {
            let allowance = Number::parse(allowance).unwrap();
            let standing = Standing { user: 0, used, allowance, reached: None, upgraded: None };
            standing.status(Number::parse(near).unwrap())
        };
        assert_eq!(status(8, "10", "0.8"), Status::Near);
        assert_eq!(status(7, "10", "0.8"), Status::Ok);
        assert_eq!(status(10, "10", "0.8"), Status::Over);
        assert_eq!(status(0, "0", "0.8"), Status::Over);
        assert_eq!(status(3, "30", "0.1"), Status::Near);
        assert_eq!(status(3, "30.0000000000000000000001", "0.1"), Status::Ok);
    }
}
