//! CPU time of a whole PostgreSQL server, read through `/proc`.

use std::time::Duration;

use crate::Outcome;

/// Ticks of a second in `/proc/PID/stat`: a constant of the kernel's interface on all its platforms.
const TICKS_PER_SEC: u64 = 100;
/// Readings before we give up on one during which no backend ends.
const MAX_READINGS: usize = 20;
/// Fields of `/proc/PID/stat` behind the name: the parent, and CPU time in user and system, own and of ended children.
const PARENT: usize = 1;
const OWN: [usize; 2] = [11, 12];
const OF_ENDED: [usize; 2] = [13, 14];

/// CPU time so far of a server: of its postmaster, of what that has started, and of those of them that have ended.
///
/// The difference of two readings is what happened in between cost, background writers and vacuums included.
///
/// # Errors
/// When there is no process with this id, or backends end faster than they can be counted.
pub fn server_cpu(postmaster: u32) -> Outcome<Duration> {
    for _ in 0..MAX_READINGS {
        let before = ticks(&stat(postmaster)?, OF_ENDED)?;
        let running = running_ticks(postmaster)?;
        let own = stat(postmaster)?;
        // A backend that ended meanwhile would be counted twice or not at all.
        if ticks(&own, OF_ENDED)? == before {
            return Ok(Duration::from_millis((ticks(&own, OWN)? + before + running) * 1_000 / TICKS_PER_SEC));
        }
    }
    Err(format!("processes of the PostgreSQL server {postmaster} end all the time; its CPU time cannot be read"))
}

/// Ticks of all processes that this one has started and that still run.
fn running_ticks(parent: u32) -> Outcome<u64> {
    let processes = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // One that has ended since the folder was read has no file any more.
    let stats = ids.filter_map(|id| stat(id).ok());
    let children = stats.filter(|fields| fields.get(PARENT).is_some_and(|field| *field == u64::from(parent)));
    children.map(|fields| ticks(&fields, OWN)).sum()
}

/// The numbers of `/proc/PID/stat` behind the name; what is no number is 0.
fn stat(process: u32) -> Outcome<Vec<u64>> {
    let failed = || format!("the CPU time of process {process} cannot be read");
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).map_err(|_| failed())?;
    // The name, in parentheses, may hold spaces.
    let rest = text.rsplit_once(") ").ok_or_else(failed)?.1;
    Ok(rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

fn ticks(fields: &[u64], which: [usize; 2]) -> Outcome<u64> {
    let values = which.map(|index| fields.get(index).copied());
    let sum = values.into_iter().sum::<Option<u64>>();
    sum.ok_or_else(|| "the kernel's line about a process is too short".to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    const LOOP: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";

    #[test]
    fn running_and_ended_children_count() {
        let here = std::process::id();
        let before = server_cpu(here).unwrap();
        let status = Command::new("sh").args(["-c", LOOP]).status().unwrap();
        assert!(status.success());
        let ended = server_cpu(here).unwrap();
        assert!(ended > before, "the work of an ended child counts: {before:?} {ended:?}");

        let mut endless = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let started = Instant::now();
        let mut after = ended;
        while after <= ended + Duration::from_millis(50) && started.elapsed() < Duration::from_secs(60) {
            std::thread::yield_now();
            after = server_cpu(here).unwrap();
        }
        endless.kill().unwrap();
        endless.wait().unwrap();
        assert!(after > ended + Duration::from_millis(50), "the work of a running child counts: {ended:?} {after:?}");
    }

    #[test]
    fn no_process_is_an_error() {
        assert!(server_cpu(u32::MAX).is_err());
    }
}
