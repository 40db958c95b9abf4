//! What the programs ask the machine beyond the runtime's facts, for defaults and for messages.

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// A folder name in the home directory, where RocketMQ keeps things by default.
pub(crate) fn in_home(name: &str) -> PathBuf {
    env::home_dir().unwrap_or_else(|| PathBuf::from("/")).join(name)
}

/// The path without `..` and links where it exists, so that messages and locks speak of one place.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_path_buf())
}

/// Number and name of another process that has `file` open.
pub(crate) fn holder(file: &Path) -> Option<(u32, String)> {
    let file = absolute(file);
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        let has_it =
            open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == file));
        if has_it && pid != std::process::id() {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// Memory of this process that is in RAM, in MiB.
pub(crate) fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// Why other machines probably cannot reach an address.
pub(crate) fn unreachable(ip: IpAddr) -> Option<&'static str> {
    match ip {
        ip if ip.is_loopback() => Some("only programs on this machine reach it"),
        ip if ip.is_unspecified() => Some("it is the address of no machine"),
        IpAddr::V4(v4) if v4.octets()[..2] == [172, 17] => Some("it looks like one of a Docker bridge"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_cannot_reach_are_told() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "::", "172.17.0.2"] {
            assert!(unreachable(ip.parse().unwrap()).is_some(), "{ip}");
        }
        for ip in ["10.0.0.1", "172.16.0.2", "2001:db8::1"] {
            assert!(unreachable(ip.parse().unwrap()).is_none(), "{ip}");
        }
    }
}
