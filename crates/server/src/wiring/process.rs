//! This process, named so that others on its host can prove its end.

use std::fs;

use longtake_core::store::ProcessInfo;

/// Enough of a machine's number to tell it from others.
const MACHINE_ID_DIGITS: usize = 12;
/// Where Linux tells the start of a process in clock ticks since the boot, counted behind its name in parentheses.
const START_TICKS_FIELD: usize = 19;

/// What can be found out; empty where the system does not say, which only means that nothing is proved.
pub fn this() -> ProcessInfo {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").map(|path| path.to_string_lossy().into_owned());
    ProcessInfo {
        host: host(&read("/etc/machine-id")),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        pid_namespace: namespace.unwrap_or_default(),
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        started_ticks: started_ticks(&read("/proc/self/stat")),
    }
}

/// Two machines may bear one name, so the number of the installation belongs to it where there is one.
fn host(machine_id: &str) -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match machine_id.get(..MACHINE_ID_DIGITS) {
        Some(id) => format!("{name}/{id}"),
        None => name,
    }
}

/// The name may hold blanks and parentheses, so the fields are counted from its end.
fn started_ticks(stat: &str) -> i64 {
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind.split_whitespace().nth(START_TICKS_FIELD).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1000 10";
        assert_eq!(started_ticks(stat), 4711);
        assert_eq!(started_ticks(""), 0);
        assert!(this().started_ticks > 0 && !this().boot_id.is_empty());
    }
}
