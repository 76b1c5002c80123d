//! Which addresses may be dialled.
//!
//! One that an operator wrote down may be anywhere. One that came from elsewhere (a registry, a page, a user) must not lead to this
//! machine's own services or to a cloud's metadata.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{Delivery, Error, ErrorKind, Result};

/// Which addresses may be dialled. Each address of a name is judged after it was resolved, for every connection, and those
/// that may not are left out. Proxies and Unix sockets are the operator's own choice and are not judged; what a proxy resolves
/// cannot be, so behind one only addresses are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AddressPolicy {
    /// All: for addresses that an operator wrote down. The default.
    #[default]
    Any,
    /// Those of the public internet: not this machine (`127.0.0.0/8`, `::1`), not private networks (RFC 1918, unique local),
    /// not shared ones (`100.64.0.0/10`), not the link (`169.254.0.0/16`, where clouds keep their metadata, and
    /// `fe80::/10`), no metadata elsewhere, nothing multicast, reserved or for documentation; nor any of these in
    /// an IPv6 address that stands for an IPv4 one.
    PublicOnly,
    /// Those, and these networks: for endpoints discovered inside a cluster.
    PublicAnd(Vec<Network>),
}

impl AddressPolicy {
    /// Whether that address may be dialled.
    pub fn allows(&self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::PublicOnly => is_public(ip),
            Self::PublicAnd(networks) => {
                is_public(ip) || networks.iter().any(|network| network.contains(ip.to_canonical()))
            }
        }
    }

    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, Self::Any) => Self::Any,
            // In the same order and once each, so that what allows the same is the same.
            (Self::Any, other) | (other, Self::Any) => other.and(other),
            (Self::PublicOnly, _) | (_, Self::PublicOnly) => Self::PublicOnly,
            (Self::PublicAnd(ours), Self::PublicAnd(theirs)) => {
                // Of two networks one holds the other, or they have nothing in common.
                let of = |all: &[Network], others: &[Network]| {
                    let within = |one: &&Network| others.iter().any(|other| other.holds(**one));
                    all.iter().filter(within).copied().collect::<Vec<_>>()
                };
                let mut both = of(ours, theirs);
                both.extend(of(theirs, ours));
                both.sort_unstable();
                both.dedup();
                Self::PublicAnd(both)
            }
        }
    }
}

/// A network, as `10.0.0.0/8` or `fd00::/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether all of the other one lies in it.
    fn holds(&self, other: Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    /// Whether the address lies in it. Addresses of the other family never do.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let shift = |width: u32| width - u32::from(self.bits);
        match (ip, self.address) {
            (IpAddr::V4(ip), IpAddr::V4(network)) => {
                (ip.to_bits() ^ network.to_bits()).checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(ip), IpAddr::V6(network)) => {
                (ip.to_bits() ^ network.to_bits()).checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: Option<IpAddr> = address.parse().ok();
        let most = if address.is_some_and(|address| address.is_ipv4()) { 32 } else { 128 };
        let bits: Option<u8> = bits.map_or(Some(most), |bits| bits.parse().ok());
        match (address, bits.filter(|bits| *bits <= most)) {
            (Some(address), Some(bits)) => Ok(Self { address, bits }),
            _ => {
                let what = format!("{text:?} is not a network: write it as 10.0.0.0/8");
                Err(Error::new(ErrorKind::InvalidRequest, what).with_delivery(Delivery::NotSent))
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// By the IANA registry of special-purpose IPv4 addresses (RFC 6890), and Azure's metadata, which lies in public space.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let is_special = matches!(
        ip.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [192, 168, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [168, 63, 129, 16]
    );
    !is_special
}

/// Global unicast (`2000::/3`) without what the IANA registry sets apart; addresses that stand for an IPv4 one are
/// judged as that.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // Mapped (RFC 4291 §2.5.5.2), translated (RFC 6052), and 6to4 (RFC 3056).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments, Teredo among them (2001::/23); documentation (RFC 3849, RFC 9637).
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.0.1",
            "100.128.0.1",
            "168.63.129.17",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
            "2001:4860:4860::8888",
        ] {
            assert!(AddressPolicy::PublicOnly.allows(public.parse().expect(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            let ip = special.parse().expect(special);
            assert!(!AddressPolicy::PublicOnly.allows(ip), "{special}");
            assert!(AddressPolicy::Any.allows(ip), "{special}");
        }
    }

    #[test]
    fn networks_parse_and_hold_what_they_say() {
        let network = |text: &str| Network::from_str(text).expect(text);
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "255.1.1.1", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "fe80::1", "1.1.1.1"),
            ("fd00::1/128", "fd00::1", "fd00::2"),
        ] {
            assert!(network(text).contains(inside.parse().expect(inside)), "{text}");
            assert!(!network(text).contains(outside.parse().expect(outside)), "{text}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "x/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(Network::from_str(bad).is_err(), "{bad}");
        }
        let policy = AddressPolicy::PublicAnd(vec![network("10.0.0.0/8")]);
        for (ip, allowed) in
            [("10.1.1.1", true), ("::ffff:10.1.1.1", true), ("127.0.0.1", false), ("1.1.1.1", true)]
        {
            assert_eq!(policy.allows(ip.parse().expect(ip)), allowed, "{ip}");
        }
    }

    #[test]
    fn what_two_policies_allow_is_what_each_of_them_does() {
        let within = |networks: &[&str]| {
            AddressPolicy::PublicAnd(networks.iter().map(|text| text.parse().expect("a network")).collect())
        };
        let policies = [
            AddressPolicy::Any,
            AddressPolicy::PublicOnly,
            within(&["10.0.0.0/8"]),
            within(&["10.1.0.0/16", "fd00::/8"]),
            within(&["fd00::/8", "10.2.0.0/16", "127.0.0.1", "10.1.2.0/24", "127.0.0.1"]),
            within(&["0.0.0.0/0"]),
            within(&[]),
        ];
        let addresses =
            ["1.1.1.1", "10.0.0.1", "10.1.0.1", "10.1.2.3", "10.2.0.1", "127.0.0.1", "fd00::1", "::1"];
        for (one, other) in policies.iter().flat_map(|one| policies.iter().map(move |other| (one, other))) {
            assert_eq!(one.and(other).and(other), one.and(other), "{one:?} and {other:?}");
            for ip in addresses.map(|ip| ip.parse().expect("an address")) {
                let both = one.allows(ip) && other.allows(ip);
                assert_eq!(one.and(other).allows(ip), both, "{ip} by {one:?} and {other:?}");
            }
        }
    }
}
