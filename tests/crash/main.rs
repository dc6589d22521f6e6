//! No acknowledged write is lost, doubled or made up, wherever the power is cut and whatever operation fails.

mod disk_promises;
mod disk_state;
mod random;
mod sim_disk;
