//! Facts about the machine and the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of this process.
pub fn pid() -> u32 {
    std::process::id()
}

/// The machine's name.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// How many tasks can run at the same time.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine's memory.
pub fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram as u64 * u64::from(info.mem_unit)
}

/// Lets this process have as many files and connections open as the system allows it. Answers how many that are.
pub fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let soft = std::mem::replace(&mut limit.current, limit.maximum);
        if setrlimit(Resource::Nofile, limit).is_err() {
            return soft; // a system that allows less than it says
        }
    }
    limit.maximum
}

/// Addresses of the interfaces that are up, without loopback; IPv4 first, in the system's order.
pub fn addresses() -> Vec<IpAddr> {
    let mut found = interface_addresses();
    found.retain(|address| !address.is_loopback());
    found.sort_by_key(IpAddr::is_ipv6); // stable: the system's order stays within each kind
    found
}

/// How far local time is ahead of UTC now.
#[allow(unsafe_code, reason = "the time zone rules are in the C library")]
pub fn utc_offset_seconds() -> i32 {
    let now = (super::clock::now_ms() / 1000) as libc::time_t;
    // SAFETY: an all-zero `tm` is a valid value, and both pointers live across the call.
    let offset = unsafe {
        let mut local: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut local);
        local.tm_gmtoff
    };
    offset as i32
}

#[allow(unsafe_code, reason = "the list of interfaces comes from the C library")]
fn interface_addresses() -> Vec<IpAddr> {
    let mut found = Vec::new();
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `head` is a valid place for the list; on success the list stays valid until freeifaddrs.
    if unsafe { libc::getifaddrs(&mut head) } != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "the addresses of this machine are unknown");
        return found;
    }
    let mut next = head;
    // SAFETY: `next` is null or an entry of the list that is freed only below; an address, where there is one, has the
    // type its family tells.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        if entry.ifa_flags & libc::IFF_UP as u32 == 0 || entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: not null, see above.
        match i32::from(unsafe { (*entry.ifa_addr).sa_family }) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                found.push(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))));
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this is a sockaddr_in6.
                let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                found.push(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)));
            }
            _ => {}
        }
    }
    // SAFETY: the list getifaddrs made, freed once.
    unsafe { libc::freeifaddrs(head) };
    found
}
