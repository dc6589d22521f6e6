//! Parquet files of all kinds of columns arrive as the events that they say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use serde_json::json;
use tempfile::TempDir;

use super::{Imported, file};

fn write(
    directory: &TempDir,
    name: &str,
    columns: Vec<(&str, ArrayRef)>,
    properties: WriterPropertiesBuilder,
) -> PathBuf {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let path = directory.path().join(name);
    let properties = Some(properties.build());
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), properties).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Two users, by the hour.
fn columns() -> Vec<(&'static str, ArrayRef)> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    lists.values().append_value("x");
    lists.values().append_null();
    lists.values().append_value("y");
    lists.append(true);
    lists.append_null();
    let inner: Fields = vec![Field::new("city", DataType::Utf8, true)].into();
    let address =
        StructArray::new(inner, vec![texts(&[Some("Rome"), Some("hidden")])], Some(vec![true, false].into()));
    vec![
        ("customer", texts(&[Some("ada"), Some("bo")])),
        ("what", texts(&[Some("bought"), Some("bought")])),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![1_709_285_400_250_999, -1]).with_timezone("UTC"))
                as _,
        ),
        ("amount", Arc::new(Float64Array::from(vec![Some(9.99), Some(f64::NAN)])) as _),
        ("count", Arc::new(Int64Array::from(vec![Some(3), None])) as _),
        ("huge", Arc::new(UInt64Array::from(vec![u64::MAX, 0])) as _),
        (
            "exact",
            Arc::new(
                Decimal128Array::from(vec![Some(1_234_500), None]).with_precision_and_scale(20, 4).unwrap(),
            ) as _,
        ),
        ("is_new", Arc::new(BooleanArray::from(vec![Some(true), None])) as _),
        ("day", Arc::new(Date32Array::from(vec![Some(19_783), None])) as _),
        ("tags", Arc::new(lists.finish()) as _),
        ("address", Arc::new(address) as _),
        ("code", texts(&[Some("007"), Some("")])),
    ]
}

const MAP: &[&str] = &["--map", "user=customer,event=what,time=at"];

fn check(path: &Path) {
    let imported = Imported::of(&[path], MAP);
    imported.outcome.as_ref().unwrap();
    assert_eq!((imported.summary.accepted, imported.rejects().as_str()), (2, ""));
    let event = &imported.user("ada")["events"][0];
    assert_eq!(event["time"], "2024-03-01T09:30:00.250Z");
    let expected = json!({"amount": 9.99, "count": 3, "huge": u64::MAX, "exact": 123.45, "is_new": true,
        "day": "2024-03-01", "tags": ["x", "y"], "address.city": "Rome", "code": "007"});
    assert_eq!(event["properties"], expected);
    let event = &imported.user("bo")["events"][0];
    assert_eq!(event["time"], "1969-12-31T23:59:59.999Z");
    assert_eq!(event["properties"], json!({"huge": 0, "code": ""}));
}

#[test]
fn every_type_and_compression_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let compressions = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(Default::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(Default::default()),
    ];
    for compression in compressions {
        check(&write(
            &directory,
            "a.parquet",
            columns(),
            WriterProperties::builder().set_compression(compression),
        ));
    }
    check(&write(
        &directory,
        "plain.parquet",
        columns(),
        WriterProperties::builder().set_dictionary_enabled(false),
    ));
    let bare = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
    check(&write(&directory, "no_name", columns(), bare.set_max_row_group_row_count(Some(1))));
}

#[test]
fn rows_come_in_order_over_row_groups_and_bad_ones_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let count = 10_000;
    let users: Vec<Option<String>> =
        (0..count).map(|row| (row % 1_000 != 7).then(|| format!("u{}", row % 50))).collect();
    let users: ArrayRef = Arc::new(StringArray::from(users));
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(
        (0..count).map(|row| 1_700_000_000_000 + row).collect::<Vec<_>>(),
    ));
    let numbers: ArrayRef = Arc::new(Int64Array::from((0..count).collect::<Vec<_>>()));
    let columns = || vec![("user", users.clone()), ("time", times.clone()), ("n", numbers.clone())];
    let properties = || WriterProperties::builder().set_max_row_group_row_count(Some(777));
    let path = write(&directory, "rows.parquet", columns(), properties());
    let imported = Imported::of(&[&path], &["--map", "event=:e", "--id-from-line"]);
    let ImportSummary { accepted, rejected, .. } = imported.summary;
    assert_eq!((accepted, rejected), (9_990, 10));
    let first = imported.rejects().lines().next().unwrap().to_owned();
    assert!(first.contains("\"line\":8,\"reason\":\"user is empty\",\"path\":\"/user\""), "{first}");
    let sum = json!({"kind": "segmentation", "interval": "total",
        "series": [{"event": "e", "measure": {"sum": "n"}}]});
    let sum = flywheeldb::api::Json::parse(sum.to_string().as_bytes()).unwrap();
    let answer = flywheeldb::api::encode(&imported.store.query(&sum).unwrap(), flywheeldb::api::Format::Json);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let bad: i64 = (0..10).map(|thousand| thousand * 1_000 + 7).sum();
    assert_eq!(answer["data"][0]["value"], json!(count * (count - 1) / 2 - bad));

    let strict = Imported::of(&[&path], &["--map", "event=:e", "--strict"]);
    assert!(strict.outcome.unwrap_err().detail.contains("line 8: user is empty"));
    assert_eq!(strict.summary.accepted, 7);
}

use flywheeldb::cli::import::ImportSummary;

#[test]
fn clocks_on_the_wall_are_read_in_their_zone() {
    let directory = tempfile::tempdir().unwrap();
    let wall = TimestampMillisecondArray::from(vec![1_709_285_400_000]);
    let columns = vec![("user", texts(&[Some("u")])), ("time", Arc::new(wall) as ArrayRef)];
    let path = write(&directory, "wall.parquet", columns, WriterProperties::builder());
    let imported = Imported::of(&[&path], &["--map", "event=:e", "--timezone", "Europe/Berlin"]);
    assert_eq!(imported.user("u")["events"][0]["time"], "2024-03-01T08:30:00Z");
}

#[test]
fn what_is_no_parquet_or_does_not_fit_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let broken = file(&directory, "broken.parquet", b"PAR1 and nothing else that is one PAR1");
    let detail = Imported::of(&[&broken], &[]).outcome.unwrap_err().detail;
    assert!(detail.contains("not a sound Parquet file"), "{detail}");
    let path = write(&directory, "a.parquet", columns(), WriterProperties::builder());
    let problem = Imported::of(&[&path], &["--map", "user=custmer,event=what,time=at"]).outcome.unwrap_err();
    assert!(problem.detail.contains("there is no column \"custmer\""), "{problem}");
    assert_eq!(problem.hint.as_deref(), Some("did you mean \"customer\"?"));
}

#[test]
fn no_cut_or_damaged_file_crashes_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let path = write(&directory, "a.parquet", columns(), WriterProperties::builder());
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = Vec::new();
    for at in (4..whole.len()).step_by(61) {
        damaged.push(whole[..at].to_vec());
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        damaged.push(flipped);
    }
    for (number, bytes) in damaged.into_iter().enumerate() {
        // An error or events: nothing else is promised of bytes without checksums.
        Imported::of(&[&file(&directory, &format!("{number}.parquet"), &bytes)], MAP);
    }
}
