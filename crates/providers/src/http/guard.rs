//! Which addresses results may come from: what a provider writes into its answer must not make us read our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::Seen;

/// How far results of an account may come from. Public addresses are always allowed, link-local ones never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses only.
    Public,
    /// Loopback too: the account's own server is on this machine.
    Loopback,
    /// Private networks and loopback too: the account's own server is in one.
    Private,
}

impl Reach {
    /// The reach of an account whose base URL has these addresses.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let kinds = addresses.into_iter().map(|address| match plain(address) {
            address if address.is_loopback() => Self::Loopback,
            address if is_private(address) => Self::Private,
            _ => Self::Public,
        });
        kinds.fold(Self::Public, |widest, kind| match (widest, kind) {
            (Self::Private, _) | (_, Self::Private) => Self::Private,
            (Self::Loopback, _) | (_, Self::Loopback) => Self::Loopback,
            _ => Self::Public,
        })
    }

    /// Whether a result may come from this address.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = plain(address);
        match self {
            Self::Public => is_public(address),
            Self::Loopback => is_public(address) || address.is_loopback(),
            Self::Private => is_public(address) || address.is_loopback() || is_private(address),
        }
    }
}

/// The address behind an IPv4-mapped one.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Networks of one's own: RFC 1918, shared address space (RFC 6598), unique local IPv6.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || is_shared(v4),
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00,
    }
}

fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0xc0 == 64
}

/// Whether an address is reachable from everywhere (IANA special-purpose registries).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = matches!(
        (first, second, third),
        (0 | 127 | 224..=255, _, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special && !address.is_private() && !address.is_link_local() && !is_shared(address)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // NAT64 and 6to4 carry an IPv4 address that is where the packet really goes.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and documentation; the rest of 2000::/3 is the internet.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Resolves names to allowed addresses only, so that what was checked is what is connected to.
pub(super) struct GuardedResolver(pub(super) Reach);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Seen("the result's host has no address it may come from".to_owned()).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// The address a URL names literally; such a URL asks no resolver.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_the_internet_is_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "192.0.1.1"] {
            assert!(Reach::Public.allows(ip(public)), "{public}");
        }
        let ours = [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::7f00:1",
            "ff02::1",
            "fec0::1",
        ];
        for address in ours {
            assert!(!Reach::Public.allows(ip(address)), "{address}");
        }
    }

    #[test]
    fn a_private_account_reaches_its_own_network_and_never_link_local() {
        assert_eq!(Reach::of([ip("127.0.0.1")]), Reach::Loopback);
        assert_eq!(Reach::of([ip("1.1.1.1")]), Reach::Public);
        assert_eq!(Reach::of([ip("::1"), ip("10.1.2.3")]), Reach::Private);
        assert_eq!(Reach::of([ip("169.254.169.254")]), Reach::Public);
        assert!(Reach::Loopback.allows(ip("::ffff:127.0.0.1")));
        assert!(!Reach::Loopback.allows(ip("10.0.0.1")));
        assert!(Reach::Private.allows(ip("10.0.0.1")) && Reach::Private.allows(ip("fd12::1")));
        for reach in [Reach::Public, Reach::Loopback, Reach::Private] {
            assert!(!reach.allows(ip("169.254.169.254")) && !reach.allows(ip("fe80::1")), "{reach:?}");
        }
    }
}
