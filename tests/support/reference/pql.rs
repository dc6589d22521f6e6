//! Leads: everybody's score, by what they did and are.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Entity, Event, Number, TimeMs};

use super::Refusal;
use super::calendar::{Interval, duration};
use super::filter::{Filter, On, Selector, value_of};
use super::growth_model::{PARTS, part};
use super::measure::{cell, real};
use super::question::{Question, field, items};
use crate::support::reading;
use crate::support::tables::Row;

/// A fraction whose second number is above 0.
#[derive(Clone, Copy, Debug)]
struct Fraction(i128, i128);

impl Fraction {
    fn of(number: Number) -> Fraction {
        let ten = |exponent: i32| 10_i128.pow(exponent.unsigned_abs());
        match number.exponent() < 0 {
            true => Fraction(number.mantissa(), ten(number.exponent())).reduced(),
            false => Fraction(number.mantissa() * ten(number.exponent()), 1),
        }
    }

    fn reduced(self) -> Fraction {
        let (mut a, mut b) = (self.0.abs(), self.1);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Fraction(self.0 / a.max(1), self.1 / a.max(1))
    }

    fn plus(self, other: Fraction) -> Fraction {
        Fraction(self.0 * other.1 + other.0 * self.1, self.1 * other.1).reduced()
    }

    fn times(self, other: Fraction) -> Fraction {
        Fraction(self.0 * other.0, self.1 * other.1).reduced()
    }

    fn over(self, other: Fraction) -> Fraction {
        let sign = other.0.signum();
        Fraction(self.0 * other.1 * sign, self.1 * other.0 * sign).reduced()
    }

    fn is_below(self, other: Fraction) -> bool {
        self.0 * other.1 < other.0 * self.1
    }

    fn to_number(self) -> Number {
        real(self.0 as f64 / self.1 as f64)
    }
}

struct Lead {
    id: String,
    score: Fraction,
    raws: Vec<(String, Fraction)>,
    is_qualified: bool,
    hand_raised: Option<bool>,
}

const OWN_FIELDS: [&str; 4] = ["threshold", "hand_raise", "signals", "qualified_at"];

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&[&PARTS[..], &OWN_FIELDS].concat(), &[])?;
    let mut leads = leads(question)?;
    leads.sort_by(|a, b| b.score.to_number().cmp(&a.score.to_number()).then_with(|| a.id.cmp(&b.id)));
    let mut rows = Vec::new();
    for lead in leads {
        let mut row = vec![
            (question.entity.name().to_owned(), Json::String(lead.id.clone())),
            ("score".to_owned(), cell(Some(lead.score.to_number()))),
        ];
        row.extend(lead.raws.iter().map(|(name, raw)| (name.clone(), cell(Some(raw.to_number())))));
        row.push(("qualified".to_owned(), Json::Bool(lead.is_qualified)));
        row.extend(lead.hand_raised.map(|raised| ("hand_raised".to_owned(), Json::Bool(raised))));
        if question.flag("qualified_at")? {
            row.push(("qualified_at".to_owned(), qualified_at(question, &lead.id)?));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Those whom a cell counts.
pub fn members_of_cell(question: &Question, meant: &Json) -> Result<BTreeSet<String>, Refusal> {
    let asked = |name| match field(meant, name) {
        Some(Json::Bool(truth)) => Some(*truth),
        _ => None,
    };
    let hand_raised = asked("hand_raised");
    let qualified = asked("qualified").or_else(|| hand_raised.is_none().then_some(true));
    let is_meant = |lead: &Lead| {
        qualified.is_none_or(|qualified| qualified == lead.is_qualified)
            && hand_raised.is_none_or(|raised| Some(raised) == lead.hand_raised)
    };
    Ok(leads(question)?.into_iter().filter(is_meant).map(|lead| lead.id).collect())
}

fn leads(question: &Question) -> Result<Vec<Lead>, Refusal> {
    let mut leads = Vec::new();
    let hands_up = match question.field("hand_raise") {
        None => None,
        Some(hand) => {
            let is_cohort = match hand {
                Json::Object(_) => field(hand, "event").is_none() && field(hand, "any_of").is_none(),
                _ => false,
            };
            Some(match is_cohort {
                true => question.members(hand)?,
                false => {
                    let events = question.matching(&Selector::read(question, hand)?);
                    events.iter().filter_map(|event| question.owner(event)).map(str::to_owned).collect()
                }
            })
        }
    };
    for id in question.everyone().into_iter().filter(|id| question.lists(id)) {
        let (score, raws, is_qualified) = score(question, &id)?;
        let hand_raised = hands_up.as_ref().map(|hands_up: &BTreeSet<String>| hands_up.contains(&id));
        leads.push(Lead { id, score, raws, is_qualified, hand_raised });
    }
    Ok(leads)
}

/// A raw value for each signal, by name.
type Raws = Vec<(String, Fraction)>;

/// Somebody's score and raw values, and whether the score reaches the threshold.
fn score(question: &Question, id: &str) -> Result<(Fraction, Raws, bool), Refusal> {
    let signals = items(question.field("signals").expect("there are signals"))?;
    let (mut score, mut weights, mut raws) = (Fraction(0, 1), Fraction(0, 1), Vec::new());
    for signal in signals {
        let weight = match field(signal, "weight") {
            Some(weight) => number(Some(weight))?,
            None => Fraction(1, 1),
        };
        let raw = raw(question, signal, id)?;
        score = score.plus(on_scale(signal, raw)?.times(weight));
        weights = weights.plus(weight);
        raws.push((reading::string(field(signal, "name").expect("a signal has a name")), raw));
    }
    let score = score.over(weights);
    let threshold = number(question.field("threshold"))?;
    Ok((score, raws, !score.is_below(threshold)))
}

fn number(json: Option<&Json>) -> Result<Fraction, Refusal> {
    match json {
        Some(Json::Number(number)) => Ok(Fraction::of(*number)),
        other => Err(Refusal::Invalid(format!("{other:?} is no number"))),
    }
}

/// From 0 to 1.
fn on_scale(signal: &Json, raw: Fraction) -> Result<Fraction, Refusal> {
    let (zero, one) = (Fraction(0, 1), Fraction(1, 1));
    let Some(scale) = field(signal, "scale") else { return Ok(if raw.0 > 0 { one } else { zero }) };
    let ends = items(scale)?;
    let (low, high) = (number(ends.first())?, number(ends.get(1))?);
    let minus = |a: Fraction, b: Fraction| a.plus(Fraction(-b.0, b.1));
    let place = minus(raw, low).over(minus(high, low));
    Ok(if place.is_below(zero) {
        zero
    } else if one.is_below(place) {
        one
    } else {
        place
    })
}

/// The raw value of a signal.
fn raw(question: &Question, signal: &Json, id: &str) -> Result<Fraction, Refusal> {
    let whole = |count: usize| Fraction(count as i128, 1);
    if let Some(volume) = field(signal, "volume") {
        let events = own_events(question, volume, "value", id)?;
        return Ok(whole(within(question, volume, 0, &events)?.len()));
    }
    if let Some(velocity) = field(signal, "velocity") {
        let events = own_events(question, velocity, "value", id)?;
        let now = within(question, velocity, 0, &events)?.len();
        let before = within(question, velocity, 1, &events)?.len();
        return Ok(Fraction(now as i128, before.max(1) as i128));
    }
    if let Some(breadth) = field(signal, "breadth") {
        let of = field(breadth, "of").map(reading::string);
        let property = field(breadth, "property").map(reading::string);
        let is_own = of.is_some() || property.is_some();
        let any = Json::Object(vec![("event".to_owned(), Json::String("*".to_owned()))]);
        let own = if is_own && field(breadth, "event").is_none() { &any } else { breadth };
        let events = own_events(question, own, "feature", id)?;
        let property = match (&of, property) {
            (None, None) => {
                Some(reading::string(field(part(question, "feature")?, "property").expect("a property")))
            }
            (_, property) => property,
        };
        let mut different = BTreeSet::new();
        for event in within(question, breadth, 0, &events)? {
            match (of.as_deref(), &property) {
                (None, Some(property)) => {
                    let value = value_of(question, On::Event, property, event);
                    different.extend(
                        value.into_iter().flat_map(|v| v.elements().iter().map(|e| format!("{e:?}"))),
                    );
                }
                (Some("events"), _) => {
                    different.insert(event.event.clone());
                }
                (Some("active_days"), _) => {
                    let day = question.calendar.bucket_of(Interval::Day, event.time);
                    different.insert(day.start.to_string());
                }
                _ => {
                    different.insert(event.user.clone());
                }
            }
        }
        return Ok(whole(different.len()));
    }
    let holds = if let Some(cohort) = field(signal, "behaviour") {
        question.members(cohort)?.contains(id)
    } else {
        let on = if question.entity == Entity::User { On::User } else { On::Account };
        let filter = field(signal, "profile").expect("one of the signals");
        Filter::read_on(question, filter, on)?.holds_for_profile(question, id)
    };
    Ok(whole(usize::from(holds)))
}

/// The events of a signal, or else of a part, that are somebody's.
fn own_events<'a>(
    question: &'a Question,
    json: &Json,
    otherwise: &str,
    id: &str,
) -> Result<Vec<&'a Event>, Refusal> {
    let has_own = field(json, "event").is_some() || field(json, "any_of").is_some();
    let selector = Selector::read(question, if has_own { json } else { part(question, otherwise)? })?;
    Ok(question.matching(&selector).into_iter().filter(|event| question.owner(event) == Some(id)).collect())
}

/// Those in the window before `as_of`, or in the one so many windows before that.
fn within<'a>(
    question: &Question,
    json: &Json,
    windows_before: i64,
    events: &[&'a Event],
) -> Result<Vec<&'a Event>, Refusal> {
    let Some(window) = field(json, "window") else { return Ok(events.to_vec()) };
    let window = duration(window)?;
    let end = question.as_of - windows_before * window;
    Ok(events.iter().filter(|event| end - window < event.time && event.time <= end).copied().collect())
}

/// The first day, from the day of the first event on, at whose end the score had reached the threshold.
fn qualified_at(question: &Question, id: &str) -> Result<Json, Refusal> {
    let theirs = question.events.iter().filter(|event| question.owner(event) == Some(id));
    let first: TimeMs = theirs.map(|event| event.time).min().unwrap_or(question.as_of);
    for day in question.calendar.buckets(Interval::Day, first, question.as_of + 1) {
        let moment = (day.end - 1).min(question.as_of);
        let Json::Object(fields) = question.query else { unreachable!("a query is an object") };
        let mut fields = fields.clone();
        fields.retain(|(name, _)| name != "as_of" && name != "where");
        fields.push(("as_of".to_owned(), Json::Number(Number::from(moment))));
        let query = Json::Object(fields);
        let then = Question::new(question.reference, &query)?.with_condition_of(question);
        if score(&then, id)?.2 {
            return Ok(question.calendar.told(Interval::Day, day.start));
        }
    }
    Ok(Json::Null)
}
