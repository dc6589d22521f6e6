//! One client that writes batches and merges, and keeps a ledger of what was acknowledged.

use std::io;

use serde_json::{Value, json};

use super::program::Connection;

/// 2024-01-01T00:00:00Z. Each batch has a minute of its own, so that one query counts all of them apart.
const START_MS: i64 = 1_704_067_200_000;
const MINUTE_MS: i64 = 60_000;
/// Every such batch is sent for an anonymous id, which is then merged into the writer's user.
const ANONYMOUS_EVERY: usize = 4;

/// What a writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    SendBatch(usize),
    /// Merges the anonymous id of the batch.
    Merge(usize),
}

pub struct Writer {
    number: usize,
    next: Step,
    /// Whether the next step was sent before, and the connection broke.
    is_in_doubt: bool,
}

impl Writer {
    pub fn new(number: usize) -> Writer {
        Writer { number, next: Step::SendBatch(0), is_in_doubt: false }
    }

    /// Batches are acknowledged in order: those before the next.
    pub fn acknowledged_batch_count(&self) -> usize {
        match self.next {
            Step::SendBatch(batch) => batch,
            Step::Merge(batch) => batch + 1,
        }
    }

    pub fn event_count(&self) -> u64 {
        (0..self.acknowledged_batch_count()).map(|batch| self.batch_size(batch)).sum()
    }

    /// From one event to a few hundred, the same for a batch each time.
    fn batch_size(&self, batch: usize) -> u64 {
        let mixed = ((batch * 8 + self.number) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if mixed.is_multiple_of(16) { 1 + mixed % 500 } else { 1 + mixed % 20 }
    }

    fn user_of(&self, batch: usize) -> String {
        match batch % ANONYMOUS_EVERY {
            0 => format!("writer-{}-anonymous-{batch}", self.number),
            _ => self.own_user(),
        }
    }

    fn own_user(&self) -> String {
        format!("writer-{}", self.number)
    }

    fn body(&self, batch: usize) -> String {
        let user = self.user_of(batch);
        let event = |serial: u64| {
            json!({
                "event": if serial.is_multiple_of(3) { "viewed" } else { "clicked" },
                "user": user,
                "time": START_MS + batch as i64 * MINUTE_MS + serial as i64,
                "id": format!("{}-{batch}-{serial}", self.number),
                "properties": {"writer": self.number, "serial": serial, "text": format!("text {}", serial % 7)},
            })
        };
        Value::Array((0..self.batch_size(batch)).map(event).collect()).to_string()
    }

    /// Does one step, and notes that it was acknowledged. An error is a connection that broke.
    pub fn step(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.is_in_doubt = true;
        self.next = match self.next {
            Step::SendBatch(batch) => {
                let answer = connection.post("/v1/events", &self.body(batch))?.expect_success();
                assert_eq!(answer["accepted"], self.batch_size(batch), "{answer}");
                if batch % ANONYMOUS_EVERY == 0 { Step::Merge(batch) } else { Step::SendBatch(batch + 1) }
            }
            Step::Merge(batch) => {
                self.merge(batch, connection)?;
                Step::SendBatch(batch + 1)
            }
        };
        self.is_in_doubt = false;
        Ok(())
    }

    fn merge(&self, batch: usize, connection: &mut Connection) -> io::Result<()> {
        let body = json!([{"from": self.user_of(batch), "into": self.own_user()}]);
        connection.post("/v1/identities", &body.to_string())?.expect_success();
        Ok(())
    }

    /// After a restart: the step in doubt was done as a whole or not at all, and is done once however often it is sent.
    pub fn settle(&mut self, connection: &mut Connection) {
        let stored = connection.count_events(Some(self.number));
        let Some(in_doubt) = stored.checked_sub(self.event_count()) else {
            panic!("writer {}: {stored} events are left of {} acknowledged", self.number, self.event_count());
        };
        match self.next {
            Step::SendBatch(batch) if self.is_in_doubt => {
                let size = self.batch_size(batch);
                assert!(
                    in_doubt == 0 || in_doubt == size,
                    "{in_doubt} of a batch of {size} events are there"
                );
                let answer = connection.post("/v1/events", &self.body(batch)).unwrap().expect_success();
                assert_eq!(answer["accepted"], size - in_doubt, "{answer}");
                assert_eq!(answer["duplicates"], in_doubt, "{answer}");
                self.next = if batch % ANONYMOUS_EVERY == 0 {
                    Step::Merge(batch)
                } else {
                    Step::SendBatch(batch + 1)
                };
            }
            Step::Merge(batch) if self.is_in_doubt => {
                assert_eq!(in_doubt, 0, "phantoms of writer {}", self.number);
                self.merge(batch, connection).unwrap();
                self.next = Step::SendBatch(batch + 1);
            }
            _ => assert_eq!(in_doubt, 0, "phantoms of writer {}", self.number),
        }
        self.is_in_doubt = false;
    }

    /// Every acknowledged batch is there, each of its events once, and under the user that it was merged into.
    pub fn check(&self, connection: &mut Connection) {
        let batch_count = self.acknowledged_batch_count();
        if batch_count == 0 {
            return;
        }
        let body = json!({
            "series": [
                {"event": "*", "as": "events"},
                {"event": "*", "measure": {"sum": "serial"}, "as": "serials"},
                {"event": "*", "measure": "users", "as": "users"},
            ],
            "interval": "minute",
            "from": START_MS,
            "to": START_MS + batch_count as i64 * MINUTE_MS,
            "where": {"property": "writer", "op": "eq", "value": self.number},
        });
        let rows = connection.query("segmentation", &body);
        assert_eq!(rows.len(), batch_count * 3);
        for (batch, row) in rows.chunks(3).enumerate() {
            let size = self.batch_size(batch);
            let told: Vec<Option<u64>> = row.iter().map(|row| row["value"].as_u64()).collect();
            let expected = [Some(size), Some(size * (size - 1) / 2), Some(1)];
            assert_eq!(told, expected, "batch {batch} of writer {}", self.number);
        }
        let body = json!({
            "series": [{"event": "*", "measure": "users"}],
            "interval": "total",
            "where": {"property": "writer", "op": "eq", "value": self.number},
        });
        // Besides the writer's user at most one anonymous id, whose merge has not been sent yet.
        let unmerged = usize::from(matches!(self.next, Step::Merge(_)));
        let named = usize::from(batch_count > unmerged);
        let users = connection.query("segmentation", &body)[0]["value"].as_u64().unwrap();
        assert_eq!(users as usize, named + unmerged, "users of writer {}", self.number);
    }
}
