//! Whether a process of this very machine is gone, from `/proc`. A missed beat proves nothing (rule R7c); this does.

use std::path::Path;

use longtake_core::store::ProcessInfo;

/// What can be said of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is not there any more.
    Proved,
    /// The machine of this name was booted since it ran.
    OtherBoot,
    /// It may be there.
    Unknown,
}

/// Looks for `process` from `here`, which is our own.
pub(super) fn end_of(here: &ProcessInfo, process: &ProcessInfo) -> End {
    if here.host != process.host || here.boot_id.is_empty() || process.boot_id.is_empty() {
        return End::Unknown;
    }
    if here.boot_id != process.boot_id {
        return End::OtherBoot;
    }
    // Process numbers of another namespace mean nothing here; and what claims to be here may be a copied row.
    let comparable = !here.pid_namespace.is_empty()
        && here.pid_namespace == process.pid_namespace
        && is_this_machine(here)
        && Path::new("/proc/self/stat").exists();
    if !comparable {
        return End::Unknown;
    }
    match std::fs::read_to_string(format!("/proc/{}/stat", process.pid)) {
        Ok(stat) => match started_ticks(&stat) {
            Some(ticks) if ticks != process.started_ticks => End::Proved,
            _ => End::Unknown,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => End::Proved,
        Err(_) => End::Unknown,
    }
}

/// Whether `here` names the kernel and the namespace that this code runs in.
fn is_this_machine(here: &ProcessInfo) -> bool {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    boot.is_ok_and(|boot| boot.trim() == here.boot_id)
        && namespace.is_ok_and(|namespace| namespace.to_string_lossy() == here.pid_namespace)
}

/// Field 22 of a `stat` file. The second field, the name, may hold blanks and parentheses.
fn started_ticks(stat: &str) -> Option<i64> {
    let behind_name = stat.rsplit_once(')')?.1;
    behind_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> ProcessInfo {
        ProcessInfo {
            host: "h".to_owned(),
            boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned(),
            pid_namespace: std::fs::read_link("/proc/self/ns/pid").unwrap().to_string_lossy().into_owned(),
            pid: i32::try_from(std::process::id()).unwrap(),
            started_ticks: started_ticks(&std::fs::read_to_string("/proc/self/stat").unwrap()).unwrap(),
        }
    }

    #[test]
    fn a_living_process_is_not_gone_and_an_ended_one_is() {
        let here = here();
        assert_eq!(end_of(&here, &here), End::Unknown);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = ProcessInfo { pid: i32::try_from(child.id()).unwrap(), ..here.clone() };
        child.wait().unwrap();
        assert_eq!(end_of(&here, &process), End::Proved);
        let earlier = ProcessInfo { started_ticks: here.started_ticks - 1, ..here.clone() };
        assert_eq!(end_of(&here, &earlier), End::Proved, "its number was given to another process");
    }

    #[test]
    fn what_cannot_be_compared_proves_nothing() {
        let here = here();
        let gone = ProcessInfo { started_ticks: here.started_ticks - 1, ..here.clone() };
        assert_eq!(end_of(&here, &ProcessInfo { host: "other".to_owned(), ..gone.clone() }), End::Unknown);
        assert_eq!(end_of(&here, &ProcessInfo { pid_namespace: "pid:[1]".to_owned(), ..gone.clone() }), End::Unknown);
        assert_eq!(end_of(&here, &ProcessInfo { boot_id: "x".to_owned(), ..gone.clone() }), End::OtherBoot);
        assert_eq!(end_of(&here, &ProcessInfo { boot_id: String::new(), ..gone }), End::Unknown);
        assert_eq!(end_of(&ProcessInfo::default(), &ProcessInfo::default()), End::Unknown);
    }
}
