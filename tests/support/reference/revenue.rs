//! Revenue: what everybody paid at the start and at the end of each row, and the difference by name.

use std::collections::BTreeSet;

use flywheeldb::api::Json;
use flywheeldb::model::{Number, TimeMs};

use super::Refusal;
use super::calendar::Interval;
use super::filter::{On, Selector, value_of};
use super::growth_model::part;
use super::history::Reference;
use super::measure::{cell, real, sum, whole};
use super::question::{Question, field, text};
use super::split::{Folding, Key, Label, Split};
use crate::support::reading;
use crate::support::tables::Row;

/// From its time on, the owner pays the amount, in these rows.
struct Payment<'a> {
    owner: &'a str,
    time: TimeMs,
    amount: Number,
    keys: BTreeSet<Key>,
    /// Before values were folded.
    unfolded: BTreeSet<Key>,
}

/// The split of a revenue without its currency, and who pays what from when on.
pub struct Book<'a> {
    split: Split,
    payments: Vec<Payment<'a>>,
    has_currency: bool,
}

pub fn answer(question: &Question) -> Result<Vec<Row>, Refusal> {
    question.check_fields(&["subscription", "interval", "currency", "trailing"], &[])?;
    let book = Book::read(question, None)?;
    let interval = question.interval()?.unwrap_or(Interval::Day);
    let mut rows = Vec::new();
    let keys = book.row_keys();
    for (label, start, end) in edges(question, interval)? {
        for key in &keys {
            let mut row = vec![("time".to_owned(), label.clone())];
            row.extend(book.columns(key));
            row.extend(book.cells(key, start, end));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The told name, start and end of each row.
fn edges(question: &Question, interval: Interval) -> Result<Vec<(Json, TimeMs, TimeMs)>, Refusal> {
    let mut edges = Vec::new();
    if question.from() >= question.to {
        return Ok(edges); // an empty range touches no interval
    }
    for bucket in question.calendar.buckets(interval, question.from(), question.to) {
        let end = bucket.end.min(question.to);
        let start = match question.text("trailing")? {
            Some(span) => question.calendar.time(&Json::String(format!("-{span}")), end)?,
            None => bucket.start.max(question.from()),
        };
        edges.push((question.calendar.told(interval, bucket.start), start, end));
    }
    Ok(edges)
}

impl<'a> Book<'a> {
    /// Reads what everybody pays. `folding` says which values are kept where that is not judged by who pays.
    pub fn read(question: &'a Question, folding: Option<&Folding>) -> Result<Book<'a>, Refusal> {
        let missing = || Refusal::Invalid("what a subscription is, is not said".to_owned());
        let subscription = part(question, "subscription")?;
        let selector = Selector::read(question, subscription)?;
        let mrr = text(subscription, "mrr")?.ok_or_else(missing)?;
        let currency = match question.text("currency")? {
            Some(currency) => Some(currency),
            None => text(subscription, "currency")?,
        };
        let split = Split::read(question)?;
        if split.has_event_properties() {
            return Err(Refusal::Invalid("not split by properties of events".to_owned()));
        }
        let mut payments: Vec<Payment> = Vec::new();
        for event in question.matching(&selector) {
            let amount = value_of(question, On::Event, mrr, event).and_then(|value| value.as_number());
            let (Some(owner), Some(amount)) = (question.owner(event), amount) else { continue };
            if amount < Number::ZERO || event.time >= question.to {
                continue;
            }
            let labels: Vec<Option<Label>> = match currency {
                None => vec![None],
                Some(currency) => match value_of(question, On::Event, currency, event) {
                    Some(value) => value.elements().iter().cloned().map(|v| Some(Label::Value(v))).collect(),
                    None => vec![Some(Label::Missing)],
                },
            };
            let keys = split.keys(question, event);
            let with_currency = |key: &Key| -> Vec<Key> {
                labels.iter().map(|label| key.iter().cloned().chain(label.clone()).collect()).collect()
            };
            let unfolded = keys.iter().flat_map(with_currency).collect();
            let payment = Payment { owner, time: event.time, amount, keys: BTreeSet::new(), unfolded };
            // Of one instant the largest holds, and of equal ones the first by its rows.
            let tied = payments.iter().position(|known| (known.owner, known.time) == (owner, event.time));
            match tied {
                None => payments.push(payment),
                Some(index) => {
                    let known = &payments[index];
                    let is_before = payment.unfolded < known.unfolded;
                    if payment.amount > known.amount || (payment.amount == known.amount && is_before) {
                        payments[index] = payment;
                    }
                }
            }
        }
        let part_count = split.part_count();
        let without_currency = |payment: &Payment| -> BTreeSet<Key> {
            payment.unfolded.iter().map(|key| key[..part_count].to_vec()).collect()
        };
        let by_payers = split.folding(&payments, without_currency, |payments| {
            let paying = payments.iter().filter(|payment| payment.amount > Number::ZERO);
            let owners: BTreeSet<&str> = paying.map(|payment| payment.owner).collect();
            (!owners.is_empty()).then(|| whole(owners.len()))
        });
        let folding = folding.unwrap_or(&by_payers);
        let folded: Vec<BTreeSet<Key>> =
            payments.iter().map(|payment| folding.keys(&without_currency(payment))).collect();
        for (payment, folded) in payments.iter_mut().zip(folded) {
            let labels: BTreeSet<Option<Label>> =
                payment.unfolded.iter().map(|key| key.get(part_count).cloned()).collect();
            let with_currency = |key: &Key| -> Vec<Key> {
                labels.iter().map(|label| key.iter().cloned().chain(label.clone()).collect()).collect()
            };
            payment.keys = folded.iter().flat_map(with_currency).collect();
        }
        Ok(Book { split, payments, has_currency: currency.is_some() })
    }

    pub fn owners(&self) -> BTreeSet<&str> {
        self.payments.iter().map(|payment| payment.owner).collect()
    }

    /// The rows of each payment before any were folded.
    pub fn unfolded(&self) -> impl Iterator<Item = &BTreeSet<Key>> {
        self.payments.iter().filter(|payment| payment.amount > Number::ZERO).map(|payment| &payment.unfolded)
    }

    /// The rows in which anybody ever paid; of one row, whatever was paid.
    pub fn row_keys(&self) -> BTreeSet<Key> {
        if self.split.is_none() && !self.has_currency {
            return BTreeSet::from([Key::new()]);
        }
        let paying = self.payments.iter().filter(|payment| payment.amount > Number::ZERO);
        paying.flat_map(|payment| payment.keys.clone()).collect()
    }

    fn columns(&self, key: &Key) -> Row {
        let part_count = self.split.part_count();
        let mut columns = self.split.columns(&key[..part_count].to_vec());
        columns.extend(key.get(part_count).map(|label| {
            let currency = match label {
                Label::Value(value) => reading::json(value),
                _ => Json::Null,
            };
            ("currency".to_owned(), currency)
        }));
        columns
    }

    /// What an owner pays just before a moment, in whatever row.
    pub fn amount_anywhere(&self, owner: &str, edge: TimeMs) -> Number {
        let own = self.payments.iter().filter(|payment| payment.owner == owner && payment.time < edge);
        own.max_by_key(|payment| payment.time).map_or(Number::ZERO, |last| last.amount)
    }

    /// What an owner pays in a row just before a moment.
    pub fn amount(&self, owner: &str, key: &Key, edge: TimeMs) -> Number {
        let own = self.payments.iter().filter(|payment| payment.owner == owner && payment.time < edge);
        match own.max_by_key(|payment| payment.time) {
            Some(last) if last.keys.contains(key) => last.amount,
            _ => Number::ZERO,
        }
    }

    fn has_paid(&self, owner: &str, key: &Key, edge: TimeMs) -> bool {
        self.payments.iter().any(|payment| {
            payment.owner == owner
                && payment.time < edge
                && payment.amount > Number::ZERO
                && payment.keys.contains(key)
        })
    }

    pub fn cells(&self, key: &Key, start: TimeMs, end: TimeMs) -> Row {
        let mut movements: [Vec<Number>; 5] = Default::default();
        let [new, expansion, contraction, churn, reactivation] = &mut movements;
        let (mut starting, mut ending) = (Vec::new(), Vec::new());
        for owner in self.owners() {
            let (before, after) = (self.amount(owner, key, start), self.amount(owner, key, end));
            starting.push(before);
            ending.push(after);
            let difference = minus(after, before);
            if before == Number::ZERO && after > Number::ZERO {
                let book = if self.has_paid(owner, key, start) { &mut *reactivation } else { &mut *new };
                book.push(difference);
            } else if before > Number::ZERO && after == Number::ZERO {
                churn.push(before);
            } else if after > before {
                expansion.push(difference);
            } else {
                contraction.push(minus(before, after));
            }
        }
        let customers = ending.iter().filter(|amount| **amount > Number::ZERO).count();
        let [new, expansion, contraction, churn, reactivation] = movements.map(|amounts| sum(&amounts));
        let (starting, ending) = (sum(&starting), sum(&ending));
        let kept = minus(minus(starting, contraction), churn);
        let nrr = over(sum(&[kept, expansion]), starting);
        let quick_ratio = over(sum(&[new, expansion, reactivation]), sum(&[contraction, churn]));
        let cells = [
            ("starting", Some(starting)),
            ("new", Some(new)),
            ("expansion", Some(expansion)),
            ("contraction", Some(contraction)),
            ("churn", Some(churn)),
            ("reactivation", Some(reactivation)),
            ("ending", Some(ending)),
            ("nrr", nrr),
            ("grr", over(kept, starting)),
            ("customers", Some(whole(customers))),
            ("arpa", over(ending, whole(customers))),
            ("quick_ratio", quick_ratio),
        ];
        cells.into_iter().map(|(name, number)| (name.to_owned(), cell(number))).collect()
    }
}

fn minus(a: Number, b: Number) -> Number {
    let negated = Number::new(-b.mantissa(), b.exponent()).expect("the opposite has as many digits");
    sum(&[a, negated])
}

/// `None` over zero.
fn over(a: Number, b: Number) -> Option<Number> {
    (b != Number::ZERO).then(|| real(a.to_f64() / b.to_f64()))
}

/// Who pays in a query that does not say whom it counts: the entity of its subscription.
pub fn entity<'a>(reference: &'a Reference, query: &'a Json) -> Option<&'a str> {
    let of_model = || field(reference.growth_model()?, "subscription");
    text(field(query, "subscription").or_else(of_model)?, "entity").ok()?
}
