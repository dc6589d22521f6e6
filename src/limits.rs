//! Every maximum of the product, with the reason for its number. Listed for users in docs/operations.md.

use std::time::Duration;

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
/// Values in a JSON body that is read as a tree, names of fields counted: as many as the longest list of a static cohort
/// has, and more. Each takes a hundred bytes of memory, and may be two bytes long.
pub const JSON_VALUE_COUNT_MAX: usize = 2_500_000;
const _: () = assert!(JSON_VALUE_COUNT_MAX as u64 > STATIC_COHORT_USER_COUNT_MAX);
/// Fields of a form that an SDK sends around its JSON: they have three or four.
pub const FORM_FIELD_COUNT_MAX: usize = 1_000;
/// Bytes that the body of an SDK may decode to when its key is inside of it, so that it is decoded for whoever sends it: SDKs
/// send at most 20 MB at once.
pub const UNKEYED_DECODED_SIZE_MAX: usize = 20 << 20;
/// Members of a gzip body: as many as the largest body has in the common block form of 64 KiB a member, and more.
pub const GZIP_MEMBER_COUNT_MAX: usize = 4_096;
/// Window of a zstd body, as a power of two: 8 MiB, what RFC 9659 allows for HTTP.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Bytes of one file in a zip archive, decompressed: an hour of an export, which is read into memory.
pub const ARCHIVED_FILE_SIZE_MAX: usize = 1 << 30;

/// Exports that a server sends at once. Each holds a snapshot, and with it the files of that moment.
pub const EXPORT_COUNT_MAX: usize = 2;

/// Bytes of an object in S3 that are read by one request: a good deal more than the way there and back costs.
pub const OBJECT_BLOCK_SIZE: u64 = 4 << 20;
/// Blocks of an object that are kept while it is read, 64 MiB: the columns of a row group of Parquet are read side by side.
pub const OBJECT_BLOCK_COUNT_MAX: usize = 16;
/// Bytes of a part in which an object is written. S3 takes parts from 5 MiB on, and 10,000 of them: 156 GiB.
pub const OBJECT_PART_SIZE: usize = 16 << 20;
/// Parts of an object that are on their way at once.
pub const OBJECT_PART_COUNT_MAX: usize = 4;

/// Ids of sendings of SDKs that are remembered, of those whose time or effect an id alone does not fix: 5 MB, hours
/// of retries.
pub const RECENT_ID_COUNT_MAX: usize = 100_000;

/// Changes to lists in profiles, and profiles cleared, of one request of an SDK. Of one profile they are done one after the
/// other, durably each: what a request may hold is a few seconds' work. Mixpanel takes as many in one.
pub const LIST_CHANGE_COUNT_MAX: usize = 2_000;

/// Steps in one funnel. A set of steps is kept in a `u64`, one bit a step.
pub const FUNNEL_STEP_COUNT_MAX: usize = 64;
const _: () = assert!(FUNNEL_STEP_COUNT_MAX <= u64::BITS as usize);
/// Exclusions of one funnel. A set of them, and of what breaks a strict order, is kept in a `u64`.
pub const FUNNEL_EXCLUSION_COUNT_MAX: usize = 63;
const _: () = assert!(FUNNEL_EXCLUSION_COUNT_MAX < u64::BITS as usize);
/// Properties whose values the events of an attempt share.
pub const FUNNEL_HOLD_COUNT_MAX: usize = 8;
/// Bins of a histogram: more than a screen has columns.
pub const HISTOGRAM_BIN_COUNT_MAX: usize = 10_000;
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

/// Distinct values of one property that a breakdown may be asked to keep: more is an export, not a chart.
pub const BREAKDOWN_LIMIT_MAX: usize = 10_000;
/// Values that a breakdown keeps unless asked otherwise.
pub const BREAKDOWN_LIMIT_DEFAULT: usize = 25;
const _: () = assert!(BREAKDOWN_LIMIT_DEFAULT <= BREAKDOWN_LIMIT_MAX);
/// Properties that one query may split by: the columns `breakdown`, `breakdown_2` and `breakdown_3`.
pub const BREAKDOWN_PROPERTY_COUNT_MAX: usize = 3;
/// Combinations of kept values of all properties of a breakdown. Each has a place in a dense table of 4 bytes.
pub const BREAKDOWN_COMBINATION_COUNT_MAX: usize = 4_000_000;
/// Values in the list of one `in` filter. They are sorted once and searched.
pub const FILTER_VALUE_COUNT_MAX: usize = 100_000;
/// Bytes of a regular expression after compilation, so that no pattern takes the memory of the server.
pub const PATTERN_COMPILED_SIZE_MAX: usize = 1 << 20;
/// Events in one selector.
pub const SELECTOR_EVENT_COUNT_MAX: usize = 1_000;
/// Series of one segmentation: each is named by a letter.
pub const SERIES_COUNT_MAX: usize = 26;
/// Characters of a formula: it is read by recursion, a few calls for each parenthesis.
pub const FORMULA_LENGTH_MAX: usize = 500;
/// Cells that one series may count before its values are folded. More, and its rows are read twice instead: 8 MB of
/// counts on each core.
pub const UNFOLDED_CELL_COUNT_MAX: usize = 1 << 20;
/// Calendar days of a rolling window: ten years.
pub const ROLLING_DAY_COUNT_MAX: i64 = 3_660;
/// Periods after the birth's own that a retention may tell: more than a year of hours.
pub const RETENTION_PERIOD_COUNT_MAX: i64 = 10_000;
/// Moves that are told of a path. Behind so many, hardly two users share one.
pub const PATH_STEP_COUNT_MAX: usize = 100;
/// Moves that are told of a path unless asked otherwise.
pub const PATH_STEP_COUNT_DEFAULT: usize = 5;
const _: () = assert!(PATH_STEP_COUNT_DEFAULT <= PATH_STEP_COUNT_MAX);
/// Edges of each step, or whole paths, that may be asked for: more is an export, not a chart.
pub const PATH_LIMIT_MAX: usize = 10_000;
const _: () = assert!(PATH_STEP_COUNT_MAX * (PATH_LIMIT_MAX + 1) <= RESULT_ROW_COUNT_MAX);
/// Edges of each step, or whole paths, that are told unless asked otherwise.
pub const PATH_LIMIT_DEFAULT: usize = 10;
const _: () = assert!(PATH_LIMIT_DEFAULT <= PATH_LIMIT_MAX);
/// Distinct edges that are counted before the query is refused: about 100 MB on each core, durations apart.
pub const PATH_EDGE_COUNT_MAX: usize = 1_000_000;
/// Distinct whole paths that are counted before the query is refused: of six events, about 100 MB on each core.
pub const PATH_WHOLE_COUNT_MAX: usize = 1_000_000;
/// Return events that a retention may ask for within one period. They are counted in a `u32`.
pub const RETENTION_AT_LEAST_MAX: i64 = 1_000_000_000;

const _: () = assert!(RETENTION_AT_LEAST_MAX < u32::MAX as i64);

/// Intervals of a trailing period of a stickiness: ten years of days.
pub const STICKINESS_INTERVAL_COUNT_MAX: i64 = 3_660;

/// Events that drivers may try. The rows of each are read once.
pub const DRIVER_CANDIDATE_COUNT_MAX: usize = 10_000;
/// Thresholds that drivers may try on each event: each is a row.
pub const DRIVER_THRESHOLD_COUNT_MAX: usize = 100;

/// Signals of one score: each is a column.
pub const PQL_SIGNAL_COUNT_MAX: usize = 50;
/// Days on which a behaviour of a score is judged, to tell when leads were qualified: each is a cohort of its own.
pub const PQL_DAY_COUNT_MAX: usize = 1_000;

/// Ids that a cohort may list.
pub const COHORT_USER_COUNT_MAX: usize = 1_000_000;

/// Cohorts and filters nested in one another once stored cohorts are put in the place of their names. Each level
/// takes a few kilobytes of a thread's stack.
pub const COHORT_DEPTH_MAX: usize = 2 * FILTER_DEPTH_MAX;
/// Cohorts and conditions on users that one query may have, once stored cohorts are put in the place of their names. A
/// few short definitions can lead to one another in ever more ways.
pub const COHORT_PART_COUNT_MAX: usize = 20_000;
/// Cohorts that one query may split by. Each is evaluated for every user.
pub const BREAKDOWN_COHORT_COUNT_MAX: usize = 100;
/// Members of a static cohort. Their ids are one record of the log, which must fit in memory several times.
pub const STATIC_COHORT_USER_COUNT_MAX: u64 = 2_000_000;
/// Stored cohorts, and stored queries. All of them are written with each checkpoint.
pub const DOCUMENT_COUNT_MAX: usize = 1_000;
/// Bytes of a stored definition. Longer lists of users are static cohorts, which are kept as sets.
pub const DOCUMENT_SIZE_MAX: usize = 64 << 10;
/// Keys of one store: as many as stored cohorts, because they are documents as well.
pub const KEY_COUNT_MAX: usize = DOCUMENT_COUNT_MAX;
/// Characters of what a key is called.
pub const KEY_NAME_LENGTH_MAX: usize = 100;
/// Characters of the name of a stored cohort or query.
pub const DOCUMENT_NAME_SIZE_MAX: usize = 100;

/// Earliest event time accepted: 1900-01-01, so that a wrong unit is an error instead of a strange history.
pub const TIME_MIN_MS: i64 = -2_208_988_800_000;
/// Latest event time accepted: 2200-01-01.
pub const TIME_MAX_MS: i64 = 7_258_118_400_000;

/// Bytes of changes in memory at which they are sealed. Writers wait at twice as much.
pub const HEAD_SIZE_MAX: u64 = 192 << 20;
/// Longest time that a writer waits for memory: sealing a full head takes a few seconds.
pub const MEMORY_WAIT_TIME_MAX: Duration = Duration::from_secs(20);
/// Segments that are joined at once, at least. Fewer copies rows more often; more leaves more segments to read.
pub const COMPACTION_FAN_IN: usize = 4;
/// Segments that are joined at once, at most, and at least while a history is loaded: nobody reads them meanwhile, and each
/// row is then copied once or twice.
pub const COMPACTION_FAN_IN_MAX: usize = 64;
const _: () = assert!(COMPACTION_FAN_IN_MAX < UNJOINED_SEGMENT_COUNT_MAX);
/// Ids that a load keeps at hand, of users and of accounts each: 256 MiB, most of those who come back within days.
pub const LOADED_ID_COUNT_MAX: usize = 1 << 22;
/// Segments on disk from which on memory is not sealed before those that are being joined are: joining has fallen behind,
/// and every query looks into each segment.
pub const UNJOINED_SEGMENT_COUNT_MAX: usize = 200;
/// Rows of one segment. Rows are numbered by a `u32`; a longer segment takes longer to write anew.
pub const SEGMENT_ROW_COUNT_MAX: u64 = 200_000_000;
const _: () = assert!(SEGMENT_ROW_COUNT_MAX < u32::MAX as u64);
/// Connections open at once. Each may hold a head of 64 KiB. Fewer where the system lets the process open fewer files.
pub const CONNECTION_COUNT_MAX: usize = 1_024;
/// Open files that are not for connections: segments being written, the log, id files, backups.
pub const FILE_RESERVE_COUNT: u64 = 256;
/// Connections open at once from one address: a company behind one router, and no single machine can take all.
/// Connections from the machine itself do not count, as they may be a proxy's.
pub const CONNECTION_PER_ADDRESS_COUNT_MAX: usize = 256;
/// Connections that are being told that there is no room for them, or why their request is refused. Past it they
/// are closed without a word.
pub const FAREWELL_COUNT_MAX: usize = 64;
/// Headers of one request.
pub const HEADER_COUNT_MAX: usize = 100;
/// Bytes of a request's line and headers: a query in the address of a GET is the longest thing there.
pub const REQUEST_HEAD_SIZE_MAX: usize = 64 << 10;
/// Time for a request's line and headers to arrive, once they began to. An honest client sends them at once.
pub const REQUEST_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes a second that a body has to arrive with once it is on its way for [`BODY_IDLE_TIME_MAX`]. The slowest phone is
/// faster.
pub const BODY_RATE_MIN: usize = 1 << 10;
/// Time that a body may stand still on its way in.
pub const BODY_IDLE_TIME_MAX: Duration = Duration::from_secs(10);
/// Time that an answer may stand still on its way out: longer, because people pause what they read.
pub const ANSWER_IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Time that a connection may wait for its next request: longer than the 60 s after which common proxies drop
/// theirs, so that no request meets a connection that is just being closed.
pub const KEEP_ALIVE_TIME_MAX: Duration = Duration::from_secs(75);
const _: () = assert!(REQUEST_HEAD_TIME_MAX.as_secs() < KEEP_ALIVE_TIME_MAX.as_secs());
/// Bytes of memory that request bodies take at once, over all connections: as sent, decoded, and once more for what
/// is made of them. Past it a request is told to come again. The largest body alone takes 288 MiB.
pub const BODY_MEMORY_MAX: usize = 384 << 20;
const _: () = assert!(BODY_SIZE_MAX + 2 * BODY_DECODED_SIZE_MAX <= BODY_MEMORY_MAX);
const _: () = assert!(BODY_MEMORY_MAX <= u32::MAX as usize);
/// Bytes of the memory for bodies that are taken at a time while one grows.
pub const BODY_MEMORY_STEP: usize = 256 << 10;
/// Bytes of a refused body that are read and thrown away, so that a client which is still sending reads the
/// refusal instead of a reset connection.
pub const BODY_DISCARDED_SIZE_MAX: usize = 4 * BODY_SIZE_MAX;
/// Writing requests parsed and stored at once. Enough to share one sync of the log; few enough that the worst
/// compressed bodies still fit in memory.
pub const WRITE_IN_FLIGHT_COUNT_MAX: usize = 32;
/// Writing requests that wait for their turn with their bodies read. Past it they are told to come again before more of a
/// body is read: sixteen times what is stored at once, which takes a second or two at the worst pace seen.
pub const WRITE_WAITING_COUNT_MAX: usize = 512;
/// Bytes of the disk that writes leave free, if that is less than a twentieth of it: room to seal a full head, so that
/// deletion, expiry and compaction still have some where ingest has none.
pub const DISK_RESERVE_SIZE: u64 = 256 << 20;
const _: () = assert!(DISK_RESERVE_SIZE > HEAD_SIZE_MAX);
/// Which part of a small disk is left free instead: a twentieth.
pub const DISK_RESERVE_PART: u64 = 20;
/// Queries that wait for a thread. Past it a query is told to come again: an answer that comes later than its
/// asker waits is work for nobody.
pub const QUERY_WAITING_COUNT_MAX: usize = 64;
/// Time that a query of the server may take, its wait for a thread included: longer than people wait for a chart.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(30);
/// Time after which a query makes way: what charts of a dashboard take, and a person still calls quick.
pub const QUICK_QUERY_TIME: Duration = Duration::from_millis(250);
/// Queries that run at once after they made way. Two, so that one that is refused memory does not hold up the next.
pub const SLOW_QUERY_COUNT_MAX: usize = 2;
/// How much lower than others the threads of such queries, and the one that joins segments, stand with the system's
/// scheduler (`nice`): at 10, another busy thread gets nine times the time of such a one.
pub const STEPPED_BACK_NICENESS: i32 = 10;
/// Names of events of one store. Each is a run of rows in each segment; a product has some hundreds.
pub const EVENT_NAME_COUNT_MAX: usize = 10_000;
/// Names of properties, of events and of profiles together, of one store.
pub const PROPERTY_NAME_COUNT_MAX: usize = 20_000;
/// Distinct texts of one property: 0, as many as there are. Values are kept by segments and not in memory, and ids of
/// sessions and orders are ordinary ones; an operator who knows better can bound them.
pub const PROPERTY_VALUE_COUNT_MAX: usize = 0;
/// Ids of users of one store, and ids of accounts: ordinals are a `u32`, of which the last stays free and one more than
/// any is one as well.
pub const ENTITY_COUNT_MAX: usize = u32::MAX as usize - 1;
/// Bytes of rows and partial results that one query may hold: a task of heavy users takes a tenth of it, and a
/// server of one query a core still fits small machines.
pub const QUERY_MEMORY_MAX: u64 = 1 << 30;
/// Bytes of rows in the order of accounts that are kept for the queries that come: 22 million rows.
pub const ACCOUNT_ORDERS_SIZE_MAX: u64 = 256 << 20;
/// Time that requests in flight are given when the server stops. What is in memory is sealed after it, and service
/// managers commonly wait ten seconds in all.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(6);
/// Events of one page of a user's timeline.
pub const TIMELINE_EVENT_COUNT_MAX: usize = 1_000;
/// Events of one page of a user's timeline unless the asker says.
pub const TIMELINE_EVENT_COUNT_DEFAULT: usize = 100;
const _: () = assert!(TIMELINE_EVENT_COUNT_DEFAULT <= TIMELINE_EVENT_COUNT_MAX);

/// Newest arrivals that a server keeps for those who watch: what fits on a screen, a few times over.
pub const ARRIVAL_COUNT_MAX: usize = 200;
/// Bytes of the arrivals kept: most events have a few hundred.
pub const ARRIVAL_SIZE_MAX: usize = 1 << 20;

/// Users that an account's page tells by name: the first ones. Cohorts list all.
pub const ACCOUNT_USER_COUNT_TOLD: usize = 100;

/// Values that the schema tells of a property: the most frequent.
pub const SCHEMA_TOP_VALUE_COUNT: usize = 10;
/// Distinct values of a property above which the schema tells no top values: it is an id, not a category.
pub const SCHEMA_DISTINCT_VALUE_COUNT_MAX: usize = 10_000;

/// Events of deleted users that are recognised when they are sent again. Their marks are written with each
/// checkpoint, 16 bytes each.
pub const DELETED_EVENT_MARK_COUNT_MAX: usize = 1 << 20;
/// Time by which the clock may run ahead of what it should show before expiry no longer believes it: more than
/// clocks are corrected by, and more than a change of summer time would be if anybody made that mistake.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(2 * 3600);
/// Time that a store may have been closed for expiry to believe the clock unasked.
pub const CLOSED_TIME_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Pause between two looks for what has expired: what queries see does not wait for it, only the bytes do.
pub const EXPIRY_PAUSE: Duration = Duration::from_secs(600);
/// Expired rows of a segment, in percent, from which it is written anew without them.
pub const EXPIRED_ROWS_PERCENT_MIN: u64 = 25;
/// Bytes of the name of a backup: it is the name of a directory.
pub const BACKUP_NAME_SIZE_MAX: usize = 100;
