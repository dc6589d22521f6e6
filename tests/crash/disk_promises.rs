//! The simulated disk keeps what a real one promises, and breaks what a real one may break.

use std::collections::BTreeSet;
use std::io;

use flywheeldb::io::{Directory, publish};
use rustix::io::Errno;

use super::sim_disk::{OperationKind, Persistence, SimDisk};

/// Everything that a power cut now may leave under the name; `None` is no such file.
fn found_after_a_cut(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.states(usize::MAX, 1).iter().map(|(_, found)| found.read(name).ok()).collect()
}

fn file_with(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn flywheeldb::io::AppendFile> {
    let mut file = disk.create(name).unwrap();
    file.append(bytes).unwrap();
    file
}

/// A disk on which `name` and its bytes are safe.
fn disk_holding(name: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    file_with(&disk, name, bytes).sync().unwrap();
    disk.sync_directory().unwrap();
    disk
}

#[test]
fn unsynced_bytes_may_vanish_tear_or_read_as_zeros() {
    let disk = SimDisk::new();
    let mut file = disk.create("log").unwrap();
    disk.sync_directory().unwrap();
    file.append(b"safe").unwrap();
    file.sync().unwrap();
    file.append(b"first").unwrap();
    file.append(b"second").unwrap();

    let found = found_after_a_cut(&disk, "log");
    for possible in [
        "safe",
        "safefirst",
        "safefirstsecond",
        "safefirsts",
        "safe\0\0\0\0\0\0\0\0\0\0\0",
        "safe\0\0\0\0\0second",
    ] {
        assert!(found.contains(&Some(possible.into())), "{possible:?}");
    }
    assert!(found.iter().flatten().all(|bytes| bytes.starts_with(b"safe")), "synced bytes stay");
}

#[test]
fn a_long_write_may_tear_at_every_sector() {
    let disk = SimDisk::new();
    let _file = file_with(&disk, "log", &[7; 2000]);
    disk.sync_directory().unwrap();
    let found = found_after_a_cut(&disk, "log");
    for size in [0, 1, 512, 1024, 1536, 1999, 2000] {
        assert!(found.contains(&Some(vec![7; size])), "{size} bytes");
    }
    let mut without_second_sector = vec![7; 2000];
    without_second_sector[512..1024].fill(0);
    assert!(found.contains(&Some(without_second_sector)));
}

#[test]
fn a_synced_file_in_an_unsynced_directory_may_have_no_name() {
    let disk = SimDisk::new();
    file_with(&disk, "log", b"safe").sync().unwrap();
    assert_eq!(found_after_a_cut(&disk, "log"), BTreeSet::from([None, Some(b"safe".to_vec())]));
}

#[test]
fn a_synced_directory_keeps_the_name() {
    let disk = disk_holding("log", b"safe");
    assert_eq!(found_after_a_cut(&disk, "log"), BTreeSet::from([Some(b"safe".to_vec())]));
}

#[test]
fn a_renamed_file_may_come_back_under_its_old_name() {
    let disk = disk_holding("old", b"it");
    disk.rename("old", "new").unwrap();
    let names: BTreeSet<Vec<(String, u64)>> =
        disk.states(usize::MAX, 1).iter().map(|(_, found)| found.list().unwrap()).collect();
    assert_eq!(names, BTreeSet::from([vec![("old".to_owned(), 2)], vec![("new".to_owned(), 2)]]));
}

#[test]
fn a_removed_file_may_come_back() {
    let disk = disk_holding("log", b"it");
    disk.remove("log").unwrap();
    assert_eq!(found_after_a_cut(&disk, "log"), BTreeSet::from([None, Some(b"it".to_vec())]));
}

#[test]
fn changes_of_different_names_may_be_kept_in_any_order() {
    let disk = disk_holding("old", b"");
    file_with(&disk, "new", b"").sync().unwrap();
    disk.remove("old").unwrap();
    let found = disk.states(usize::MAX, 1);
    assert!(found.iter().any(|(_, found)| found.list().unwrap().is_empty()), "removed before created");
}

#[test]
fn a_rename_is_never_kept_without_the_create_that_it_builds_on() {
    let disk = SimDisk::new();
    for index in 0..8 {
        file_with(&disk, &format!("{index}.new"), b"it").sync().unwrap();
        disk.rename(&format!("{index}.new"), &index.to_string()).unwrap();
    }
    let states = disk.states(usize::MAX, 1);
    assert!(states.len() > 16, "each change alone, and all without it");
    assert!(states.iter().all(|(_, found)| found.list().unwrap().iter().all(|(_, size)| *size == 2)));
}

#[test]
fn the_usual_losses_are_there_however_low_the_limit() {
    let disk = disk_holding("log", b"");
    let _file = file_with(&disk, "other", &[1; 4000]);
    let states = disk.states(1, 7);
    assert_eq!(states.len(), 4);
    assert_eq!(states[0].1.list().unwrap(), [("log".to_owned(), 0)]);
    assert_eq!(states[1].1.list().unwrap(), [("log".to_owned(), 0), ("other".to_owned(), 4000)]);
}

#[test]
fn after_a_failed_sync_a_later_one_does_not_bring_the_bytes_back() {
    let disk = SimDisk::new();
    let mut file = file_with(&disk, "log", b"lost");
    disk.sync_directory().unwrap();
    disk.fail(disk.operation_count(), Errno::IO, Persistence::Once);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    file.append(b"more").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read("log").unwrap(), b"lostmore", "programs still read them");
    assert!(found_after_a_cut(&disk, "log").contains(&Some(b"\0\0\0\0more".to_vec())));
}

#[test]
fn a_failed_append_leaves_a_part() {
    let disk = SimDisk::new();
    let mut file = disk.create("log").unwrap();
    disk.fail(disk.operation_count(), Errno::NOSPC, Persistence::Once);
    assert!(file.append(b"12345678").is_err());
    assert_eq!(disk.read("log").unwrap(), b"1234");
}

#[test]
fn a_full_disk_stays_full_until_healed_and_still_removes() {
    let disk = disk_holding("log", b"");
    disk.fail(disk.operation_count() + 1, Errno::NOSPC, Persistence::Sticky);
    let mut file = disk.create("other").unwrap();
    assert!(file.append(b"x").is_err());
    assert!(file.append(b"x").is_err());
    assert!(disk.create("third").is_err());
    disk.remove("log").unwrap();
    disk.heal();
    file.append(b"x").unwrap();
}

#[test]
fn nothing_happens_after_a_crash() {
    let disk = disk_holding("log", b"it");
    let mut other = file_with(&disk, "other", b"");
    disk.crash_at(disk.operation_count());
    assert!(other.append(b"x").is_err() && other.sync().is_err() && disk.read("log").is_err());
    assert!(disk.rename("log", "lag").is_err() && disk.list().is_err());
    let found = disk.states(usize::MAX, 1);
    assert!(found.iter().all(|(_, found)| found.read("log").unwrap() == b"it"));
}

#[test]
fn history_has_the_disk_before_each_operation() {
    let disk = disk_holding("log", b"it");
    let sizes: Vec<usize> = disk.history().iter().map(|state| state.list().len()).collect();
    assert_eq!(sizes, [0, 1, 1, 1, 1], "create, append, sync, sync_directory");
}

#[test]
fn the_log_names_every_operation_failed_ones_too() {
    let disk = disk_holding("log", b"it");
    disk.fail(6, Errno::MFILE, Persistence::Once);
    assert!(disk.map("log").is_ok() && disk.read("log").is_ok() && disk.create("other").is_err());
    let log = disk.log();
    let told: Vec<(OperationKind, &str)> = log.iter().map(|entry| (entry.kind, &entry.name[..])).collect();
    assert_eq!(
        told,
        [
            (OperationKind::Create, "log"),
            (OperationKind::Append, "log"),
            (OperationKind::Sync, "log"),
            (OperationKind::SyncDirectory, ""),
            (OperationKind::Map, "log"),
            (OperationKind::Read, "log"),
            (OperationKind::Create, "other"),
        ]
    );
}

#[test]
fn a_state_says_what_was_kept() {
    let disk = SimDisk::new();
    let _file = file_with(&disk, "log", b"it");
    let labels: Vec<String> = disk.states(4, 1).into_iter().map(|(outcome, _)| outcome.label).collect();
    assert_eq!(
        labels,
        [
            "no new names and no unsynced bytes",
            "all names and all bytes",
            "all names and no unsynced bytes",
            "no new names and all bytes",
        ]
    );
}

#[test]
fn a_killed_process_leaves_bytes_that_a_power_cut_still_takes() {
    let disk = SimDisk::new();
    let _file = file_with(&disk, "log", b"it");
    let next = SimDisk::after_kill(&disk.state());
    assert_eq!(next.read("log").unwrap(), b"it");
    assert!(found_after_a_cut(&next, "log").contains(&None));
}

#[test]
fn one_owner_at_a_time_has_the_lock() {
    let disk = SimDisk::new();
    let guard = disk.lock().unwrap();
    assert_eq!(disk.lock().err().unwrap().kind(), io::ErrorKind::WouldBlock);
    drop(guard);
    disk.lock().unwrap();
}

#[test]
fn a_file_that_exists_is_not_created_again_and_one_that_does_not_is_not_found() {
    let disk = disk_holding("log", b"it");
    assert_eq!(disk.create("log").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(disk.read("lag").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.rename("lag", "log").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.remove("lag").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
#[should_panic(expected = "is mapped and must not change")]
fn a_mapped_file_must_not_change() {
    let disk = SimDisk::new();
    let mut file = file_with(&disk, "log", b"it");
    assert_eq!(&disk.map("log").unwrap()[..], b"it");
    let _ = file.append(b"more");
}

/// Replaces `settings` by way of another file, and returns the disks that cuts at every moment may leave.
fn cuts_during(replace: impl Fn(&SimDisk)) -> BTreeSet<Option<Vec<u8>>> {
    let disk = disk_holding("settings", b"old");
    let before = disk.operation_count();
    replace(&disk);
    let moments = &disk.history()[before..];
    let found = moments.iter().flat_map(|state| found_after_a_cut(&SimDisk::after_kill(state), "settings"));
    found.collect()
}

#[test]
fn publish_leaves_the_old_or_the_new_and_nothing_else() {
    let found = cuts_during(|disk| drop(publish(disk, "settings", &[b"n", b"ew"]).unwrap()));
    assert_eq!(found, BTreeSet::from([Some(b"old".to_vec()), Some(b"new".to_vec())]));
}

#[test]
fn a_rename_without_a_sync_of_the_file_is_caught() {
    let found = cuts_during(|disk| {
        file_with(disk, "aside", b"new");
        disk.rename("aside", "settings").unwrap();
        disk.sync_directory().unwrap();
    });
    assert!(found.contains(&Some(Vec::new())) && found.contains(&Some(vec![0; 3])), "{found:?}");
}

#[test]
fn a_rename_without_a_sync_of_the_directory_is_caught() {
    let disk = disk_holding("settings", b"old");
    file_with(&disk, "aside", b"new").sync().unwrap();
    disk.rename("aside", "settings").unwrap();
    assert!(found_after_a_cut(&disk, "settings").contains(&Some(b"old".to_vec())), "although it returned");
}
