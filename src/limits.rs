//! Every maximum of the product, with the reason for its number. Listed for users in docs/operations.md.

/// Significant digits of a number. The most that always fit an `i128`, sign apart, after scaling.
pub const NUMBER_DIGIT_COUNT_MAX: usize = 38;
const _: () = assert!(10_i128.checked_pow(NUMBER_DIGIT_COUNT_MAX as u32).is_some());

/// Bytes of an event's name: long enough for any readable name.
pub const EVENT_NAME_SIZE_MAX: usize = 200;
/// Bytes of a user or account id: long enough for URLs and e-mail addresses as ids.
pub const ENTITY_ID_SIZE_MAX: usize = 512;
/// Bytes of an event's id: a UUID needs 36, a hash in hexadecimal 64 or 128.
pub const EVENT_ID_SIZE_MAX: usize = 128;
/// Bytes of a property's (dotted) name.
pub const PROPERTY_NAME_SIZE_MAX: usize = 256;
/// Properties of one event, after nested objects are flattened.
pub const PROPERTY_COUNT_MAX: usize = 256;
/// Bytes of one string value: a long URL or a stack trace, not a document.
pub const STRING_VALUE_SIZE_MAX: usize = 64 << 10;
/// Elements of one list value.
pub const LIST_ELEMENT_COUNT_MAX: usize = 1_000;
/// Objects nested in a property's value. Each level is one dot in the name.
pub const NESTING_DEPTH_MAX: usize = 32;
/// Bytes of one event as JSON text.
pub const EVENT_SIZE_MAX: usize = 1 << 20;
/// Events in one request. A request is one atomic record of the log, so it must fit in memory several times.
pub const BATCH_EVENT_COUNT_MAX: usize = 100_000;
/// Bytes of a request body as sent.
pub const BODY_SIZE_MAX: usize = 32 << 20;
/// Bytes of a request body after decompression.
pub const BODY_DECODED_SIZE_MAX: usize = 128 << 20;
/// Window of a zstd body, as a power of two: 8 MiB, what RFC 9659 allows for HTTP.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Steps in one funnel. A set of steps is kept in a `u64`, one bit a step.
pub const FUNNEL_STEP_COUNT_MAX: usize = 64;
const _: () = assert!(FUNNEL_STEP_COUNT_MAX <= u64::BITS as usize);
/// Buckets that one query may tell: ten years of hours, and room.
pub const BUCKET_COUNT_MAX: usize = 200_000;
/// Cells that a retention table may have (cohorts times periods).
pub const RETENTION_CELL_COUNT_MAX: usize = 4_000_000;
/// Rows that one result may have.
pub const RESULT_ROW_COUNT_MAX: usize = 5_000_000;
/// Filters nested in one another.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Distinct values that a breakdown may meet before it is refused.
pub const BREAKDOWN_VALUE_COUNT_MAX: usize = 1_000_000;

/// Earliest event time accepted: 1900-01-01, so that a wrong unit is an error instead of a strange history.
pub const TIME_MIN_MS: i64 = -2_208_988_800_000;
/// Latest event time accepted: 2200-01-01.
pub const TIME_MAX_MS: i64 = 7_258_118_400_000;
