//! What joining segments must keep: every row, in every form.

use bytes::Bytes;
use roaring::RoaringBitmap;

use super::{BatchRow, Bounds, Column, Form, MergeSource, RowKind, Segment, SegmentPart, build, merge};
use crate::dice::Dice;
use crate::model::{DAY_MS, EventBatch, TimeMs, Value};

/// A row as readers see it: event, user, time, account, codes as values.
type Told = (String, u64, TimeMs, u64, Vec<(String, Option<Value>)>);

/// Users in sittings of a few minutes, of one country each, on a plan that some change once.
fn segment(dice: &mut Dice, rows_per_user: u64) -> Segment {
    let mut batch = EventBatch::new();
    let mut rows = Vec::new();
    for user in 0..300_u64 {
        let changes_at = dice.below(3 * rows_per_user);
        for number in 0..rows_per_user {
            let event = ["open", "read", "write"][dice.below(3) as usize];
            let time = (19_000 + number as i64 / 5) * DAY_MS + (user * 200_003 + number * 40_000) as i64;
            let time = time + dice.below(20_000) as i64;
            batch.push_event(event, "-", time, None, None).unwrap();
            let country = ["DE", "FR", "GB", "JP", "US"][user as usize % 5];
            batch.push_property("country", &country.into()).unwrap();
            let plan = if number < changes_at { "free" } else { "team" };
            batch.push_property("plan", &plan.into()).unwrap();
            if dice.below(4) > 0 {
                batch.push_property("platform", &(dice.below(6) as i64).into()).unwrap();
            }
            let (row, user) = (rows.len() as u32, user as u32 + 20_000);
            let account = if user % 7 == 0 { 0 } else { user / 3 - 6000 };
            rows.push(BatchRow { batch: 0, row, user, account, time, arrival: u64::from(row) });
        }
    }
    let bytes = build(RowKind::Events, &[&batch], &rows, Form::Quick, Vec::new()).unwrap();
    Segment::open("built", bytes.into()).unwrap()
}

fn told(segment: &Segment) -> Vec<Told> {
    let mut all = Vec::new();
    for group in segment.groups() {
        let (users, times) = (group.users().unwrap(), group.times().unwrap());
        let accounts = group.accounts().unwrap();
        let properties: Vec<u32> = group.column_properties().collect();
        for row in 0..group.row_count() {
            let values = properties.iter().map(|property| {
                let name = segment.property_name(*property).to_owned();
                let Some(Column::Codes { codes, .. }) = group.column(*property).unwrap() else {
                    panic!("{name} is kept as codes")
                };
                let values = segment.values(*property).unwrap().unwrap();
                (name, segment.value(&values, codes.get(row)).unwrap())
            });
            let account = accounts.map_or(0, |accounts| accounts.get(row));
            let time = group.meta().time_min + times.get(row) as i64;
            all.push((group.name().to_owned(), users.get(row), time, account, values.collect()));
        }
    }
    all.sort_by(|a, b| (&a.0, a.1, a.2, a.3).cmp(&(&b.0, b.1, b.2, b.3)));
    all
}

fn joined(sources: &[MergeSource<'_>], form: Form) -> Segment {
    let bytes = merge(RowKind::Events, sources, form, Vec::new()).unwrap();
    Segment::open("joined", Bytes::from(bytes)).unwrap()
}

#[test]
fn every_form_holds_the_same_rows_and_the_small_one_is_small() {
    let mut dice = Dice(5);
    let (one, other) = (segment(&mut dice, 40), segment(&mut dice, 15));
    let nobody = RoaringBitmap::new();
    let dead: RoaringBitmap = (20_000..20_300).step_by(11).collect();
    let from = 19_001 * DAY_MS + 7_000_000;
    let whole = [&one, &other].map(|segment| MergeSource { segment, dead: &nobody, from: TimeMs::MIN });
    let part = [&one, &other].map(|segment| MergeSource { segment, dead: &dead, from });
    for sources in [&whole[..], &whole[..1], &part, &part[1..]] {
        let [quick, fast, small] = [Form::Quick, Form::Fast, Form::Small].map(|form| joined(sources, form));
        assert!(told(&quick).len() > 1000);
        let rows = told(&small);
        assert!(told(&quick) == rows && told(&fast) == rows, "a form loses rows");
        for segment in [&fast, &small] {
            segment.prove(Bounds { user_count: 30_000, account_count: 10_000, next_arrival: 0 }).unwrap();
        }
        let again = [MergeSource { segment: &small, dead: &nobody, from: TimeMs::MIN }];
        assert!(told(&joined(&again, Form::Small)) == rows, "joining it again changes rows");
    }
    let small = joined(&whole, Form::Small);
    let sizes = small.sizes();
    assert_eq!(sizes.iter().map(|(_, size)| size).sum::<u64>(), small.bytes().len() as u64);
    let size = |part: &SegmentPart| -> u64 { sizes.iter().filter(|(p, _)| p == part).map(|(_, s)| s).sum() };
    let row_count = small.row_count();
    assert!(size(&SegmentPart::Anchors) > 0, "events in sittings share anchors");
    let country = SegmentPart::Property("country".to_owned());
    assert!(size(&country) < row_count / 10, "what is the same for a user is kept once: {}", size(&country));
    assert!(small.bytes().len() < joined(&whole, Form::Quick).bytes().len() * 3 / 4);
}
