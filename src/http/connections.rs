//! Which connections are open, and which one has to go when there is no room for the next.
//!
//! A client that opens connections and says nothing on them must not keep others out. So when all places are taken,
//! the connection that has waited for a request the longest is closed for the new one. Only when every connection has a
//! request under way is the new one refused.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::stream::Activity;
use crate::api::{Problem, ProblemClass};

/// The connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    open: Mutex<Open>,
    count_max: usize,
    per_address_count_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<u64, Connection>,
    by_address: HashMap<IpAddr, usize>,
    next_id: u64,
    /// How many were closed for others.
    evicted_count: u64,
    refused_count: u64,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    activity: Activity,
    leave: Arc<Notify>,
}

/// The place of an open connection, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    address: IpAddr,
    /// Told when the connection has to go.
    pub leave: Arc<Notify>,
}

/// How many there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionCounts {
    pub open: usize,
    pub evicted: u64,
    pub refused: u64,
}

impl Connections {
    pub fn new(count_max: usize, per_address_count_max: usize) -> Arc<Connections> {
        Arc::new(Connections { open: Mutex::default(), count_max, per_address_count_max })
    }

    /// Gives a new connection its place, or says why there is none.
    pub fn admit(self: &Arc<Connections>, address: IpAddr, activity: Activity) -> Result<Place, Problem> {
        let mut open = self.open.lock();
        // A proxy on this machine speaks for many.
        if !address.is_loopback()
            && open.by_address.get(&address).is_some_and(|count| *count >= self.per_address_count_max)
        {
            open.refused_count += 1;
            let detail =
                format!("{} connections of this address are open already", self.per_address_count_max);
            return Err(Problem::new(ProblemClass::Busy, detail).hint("keep connections, and use them again"));
        }
        if open.by_id.len() >= self.count_max && !open.evict() {
            open.refused_count += 1;
            let detail = format!("all of {} connections have a request under way", self.count_max);
            return Err(Problem::new(ProblemClass::Unavailable, detail));
        }
        let id = open.next_id;
        open.next_id += 1;
        let leave = Arc::new(Notify::new());
        let connection = Connection { address, activity, leave: Arc::clone(&leave) };
        open.by_id.insert(id, connection);
        *open.by_address.entry(address).or_default() += 1;
        drop(open);
        Ok(Place { connections: Arc::clone(self), id, address, leave })
    }

    pub fn counts(&self) -> ConnectionCounts {
        let open = self.open.lock();
        ConnectionCounts { open: open.by_id.len(), evicted: open.evicted_count, refused: open.refused_count }
    }
}

impl Open {
    /// Closes the connection that has waited the longest, if one waits at all.
    fn evict(&mut self) -> bool {
        let waiting = self.by_id.iter().filter(|(_, connection)| !connection.activity.is_answering());
        let Some(id) = waiting.max_by_key(|(_, connection)| connection.activity.silence()).map(|(id, _)| *id)
        else {
            return false;
        };
        let connection = self.by_id.remove(&id).expect("it was just found");
        self.leave_address(connection.address);
        connection.leave.notify_one();
        self.evicted_count += 1;
        true
    }

    fn leave_address(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        // An evicted one has left already.
        if open.by_id.remove(&self.id).is_some() {
            open.leave_address(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_connection_that_waits_longest_makes_room() {
        let connections = Connections::new(2, 9);
        let activities = [Activity::default(), Activity::default()];
        let places: Vec<Place> = (1..)
            .zip(&activities)
            .map(|(last, activity)| connections.admit(address(last), activity.clone()).unwrap())
            .collect();
        activities[0].speaks();
        let third = Activity::default();
        let place = connections.admit(address(3), third.clone()).unwrap();
        let is_told = |place: &Place| {
            let mut told = Box::pin(place.leave.notified());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(told.as_mut(), &mut context).is_ready()
        };
        assert_eq!(
            (is_told(&places[0]), is_told(&places[1])),
            (false, true),
            "the second waits longer by now"
        );
        assert_eq!(connections.counts(), ConnectionCounts { open: 2, evicted: 1, refused: 0 });
        let _answering = [activities[0].begin(), third.begin()];
        assert_eq!(connections.admit(address(4), Activity::default()).unwrap_err().status(), 503);
        drop((places, place));
        assert_eq!(connections.counts(), ConnectionCounts { open: 0, evicted: 1, refused: 1 });
        assert!(connections.open.lock().by_address.is_empty());
    }

    #[test]
    fn one_address_has_its_share_and_this_machine_all() {
        let connections = Connections::new(9, 2);
        let admit = |address| connections.admit(address, Activity::default());
        let mut places = vec![admit(address(1)).unwrap(), admit(address(1)).unwrap()];
        assert_eq!(admit(address(1)).unwrap_err().status(), 429);
        places.push(admit(address(2)).unwrap());
        places.remove(0);
        places.push(admit(address(1)).unwrap());
        for _ in 0..5 {
            places.push(admit([127, 0, 0, 1].into()).unwrap());
        }
    }
}
