//! The time by which events expire, and when it is not believed.
//!
//! What has expired is gone for good, so a clock that jumps ahead must not make it so. Between two looks the clock may
//! run ahead of the uptime of the machine by [`CLOCK_JUMP_MAX`] and no more; and while the store was closed by
//! [`CLOSED_TIME_MAX`], counted from what the clock showed when the last manifest was written. Past that, time goes on
//! from where it was believed, at the pace of the uptime, until the clock comes back to it or somebody says that the
//! clock is right. A clock that goes back brings nothing back that was expired.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{CLOCK_JUMP_MAX, CLOSED_TIME_MAX};
use crate::model::TimeMs;

/// What tells the time.
pub trait Clock: Send + Sync + Debug {
    /// What the clock shows, in milliseconds since 1970. Somebody may set it.
    fn now(&self) -> TimeMs;

    /// Time since some moment, which nobody sets.
    fn uptime(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimeMs {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        elapsed.map_or(0, |elapsed| elapsed.as_millis() as TimeMs)
    }

    fn uptime(&self) -> Duration {
        // That of the machine, the time for which it slept included.
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
}

/// A clock, as far as it is believed.
#[derive(Debug)]
pub(super) struct BelievedClock {
    clock: Arc<dyn Clock>,
    last: Mutex<Look>,
}

/// A look at the clock.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// The time that was believed.
    time: TimeMs,
    uptime: Duration,
    /// By how many milliseconds the clock is ahead of what is believed.
    ahead: TimeMs,
}

impl BelievedClock {
    /// Starts from what the clock showed when the store was last written, 0 if nobody knows. `is_trusted` believes the
    /// clock whatever it shows.
    pub fn new(clock: Arc<dyn Clock>, before: TimeMs, is_trusted: bool) -> BelievedClock {
        let (now, uptime) = (clock.now(), clock.uptime());
        let ahead = now - before;
        let is_believed = is_trusted || before == 0 || ahead <= CLOSED_TIME_MAX.as_millis() as TimeMs;
        let look = match is_believed {
            true => Look { time: now, uptime, ahead: 0 },
            false => Look { time: before, uptime, ahead },
        };
        BelievedClock { clock, last: Mutex::new(look) }
    }

    /// The time.
    pub fn now(&self) -> TimeMs {
        let mut last = self.last.lock();
        let (shown, uptime) = (self.clock.now(), self.clock.uptime());
        let passed = uptime.saturating_sub(last.uptime).as_millis() as TimeMs;
        let ahead = shown - (last.time + passed);
        *last = match ahead <= CLOCK_JUMP_MAX.as_millis() as TimeMs {
            true => Look { time: shown, uptime, ahead: 0 },
            false => Look { time: last.time + passed, uptime, ahead },
        };
        last.time
    }

    /// By how much the clock is ahead of what is believed; `None` while it is believed.
    pub fn doubt(&self) -> Option<Duration> {
        let _ = self.now();
        let ahead = self.last.lock().ahead;
        (ahead > 0).then(|| Duration::from_millis(ahead as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    const DAY: TimeMs = 86_400_000;
    const START: TimeMs = 20_000 * DAY;

    #[derive(Debug, Default)]
    struct SetClock {
        ahead: AtomicI64,
        uptime: AtomicU64,
    }

    impl Clock for SetClock {
        fn now(&self) -> TimeMs {
            START + self.uptime.load(Ordering::Relaxed) as TimeMs + self.ahead.load(Ordering::Relaxed)
        }

        fn uptime(&self) -> Duration {
            Duration::from_millis(self.uptime.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn time_that_passes_is_believed_and_a_jump_is_not() {
        let clock = Arc::new(SetClock::default());
        let believed = BelievedClock::new(clock.clone(), START, false);
        clock.uptime.fetch_add(400 * DAY as u64, Ordering::Relaxed);
        assert_eq!(believed.now(), START + 400 * DAY, "a long pause of the process is no jump");
        clock.ahead.store(3_650 * DAY, Ordering::Relaxed);
        assert_eq!(believed.now(), START + 400 * DAY);
        clock.uptime.fetch_add(DAY as u64, Ordering::Relaxed);
        assert_eq!(believed.now(), START + 401 * DAY, "it goes on at its own pace");
        assert!(believed.doubt().is_some());
        clock.ahead.store(60_000, Ordering::Relaxed);
        assert_eq!(believed.now(), START + 401 * DAY + 60_000, "a small correction is believed");
        assert_eq!(believed.doubt(), None);
        clock.ahead.store(-3_650 * DAY, Ordering::Relaxed);
        assert!(believed.now() < START);
    }

    #[test]
    fn a_store_may_have_been_closed_for_a_month_and_not_for_ten_years_unless_somebody_says_so() {
        let open = |before: TimeMs, is_trusted| {
            BelievedClock::new(Arc::new(SetClock::default()), before, is_trusted).now()
        };
        assert_eq!(open(START - 31 * DAY, false), START);
        assert_eq!(open(START - 3_650 * DAY, false), START - 3_650 * DAY);
        assert_eq!(open(START - 3_650 * DAY, true), START);
        assert_eq!(open(0, false), START, "nobody knows how long it was");
    }
}
