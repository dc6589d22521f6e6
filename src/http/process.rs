//! What the system says of this process, and lets it have.

use std::io::Read;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::io::read_outside;
use crate::limits::FILE_RESERVE_COUNT;
use crate::telemetry::Exposition;

/// Raises the number of files that the process may open as far as it may itself, and returns how many of them
/// connections may take.
pub(super) fn connection_count_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // Where that is refused the old limit holds, and is counted with below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(FILE_RESERVE_COUNT).max(1)).unwrap_or(usize::MAX)
}

/// Tells the metrics that every process has. What the system does not tell is left out.
pub(super) fn tell(out: &mut Exposition) {
    let status = read("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().ok())
    };
    for (name, family, help) in [
        ("VmRSS", "process_resident_memory_bytes", "Memory of the process that is not swapped out."),
        ("VmHWM", "process_resident_memory_peak_bytes", "The most that it was."),
        ("VmSize", "process_virtual_memory_bytes", "Addresses of the process, mapped files included."),
    ] {
        if let Some(kilobytes) = kilobytes(name) {
            out.family(family, "gauge", help).gauge(&[], kilobytes * 1024.0);
        }
    }
    if let Some(seconds) = cpu_seconds() {
        out.family("process_cpu_seconds", "counter", "Time of processors that the process took.")
            .counter(&[], seconds);
    }
    if let Some(files) = getrlimit(Resource::Nofile).current {
        out.family("process_max_fds", "gauge", "Files that the process may open.").gauge(&[], files as f64);
    }
}

/// Ticks of a second in `/proc`: the same on every Linux that there is (proc(5), `sysconf(_SC_CLK_TCK)`).
const TICKS_A_SECOND: f64 = 100.0;

fn cpu_seconds() -> Option<f64> {
    let stat = read("/proc/self/stat")?;
    // The name, in parentheses, may have anything in it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_A_SECOND)
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    read_outside(Path::new(path)).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_told() {
        let mut out = Exposition::default();
        tell(&mut out);
        let text = out.finish();
        for family in ["process_resident_memory_bytes", "process_cpu_seconds", "process_max_fds"] {
            assert!(text.contains(&format!("# TYPE {family} ")), "{text}");
        }
        assert!(connection_count_max() > 0);
    }
}
