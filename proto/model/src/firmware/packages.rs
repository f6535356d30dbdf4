//! Which packages a router needs for a version, and what their files are called (J2).

use std::collections::BTreeSet;

use crate::check::number;

/// Packages of version 7 beside `routeros` itself.
const EXTRAS: &[&str] = &[
    "calea",
    "container",
    "dude",
    "extra-nic",
    "gps",
    "iot",
    "iot-bt-extra",
    "lora",
    "rose-storage",
    "switch-marvell",
    "tr069-client",
    "ups",
    "user-manager",
    "wifi-qcom",
    "wifi-qcom-ac",
    "wifi-qcom-be",
    "wireless",
    "zerotier",
];

/// Packages of version 6 that are one with `routeros` in 7.
const MERGED: &[&str] = &[
    "advanced-tools",
    "dhcp",
    "hotspot",
    "ipv6",
    "kvm",
    "lcd",
    "lte",
    "mpls",
    "multicast",
    "ntp",
    "openflow",
    "option",
    "ppp",
    "routeros-arm",
    "routeros-arm64",
    "routeros-mipsbe",
    "routeros-mmips",
    "routeros-ppc",
    "routeros-smips",
    "routeros-tile",
    "routeros-x86",
    "routing",
    "security",
    "system",
];

/// The architectures that there are packages for.
pub const ARCHITECTURES: &[&str] = &[
    "arm", "arm64", "mipsbe", "mmips", "ppc", "smips", "tile", "x86", "x86_64",
];

/// The name of a package's file, as the vendor has it.
///
/// ```
/// use muster_model::firmware::packages::file;
/// assert_eq!(file("routeros", "7.16.2", "arm64"), "routeros-7.16.2-arm64.npk");
/// assert_eq!(file("wireless", "7.16.2", "x86_64"), "wireless-7.16.2.npk");
/// assert_eq!(file("routeros", "6.49.17", "mipsbe"), "routeros-mipsbe-6.49.17.npk");
/// ```
pub fn file(package: &str, version: &str, architecture: &str) -> String {
    let seven = is_seven(version);
    match (architecture, package) {
        ("x86_64", _) if seven => format!("{package}-{version}.npk"),
        ("x86", _) if seven => format!("{package}-{version}.npk"),
        ("x86_64", package) => file(package, version, "x86"),
        (_, "routeros") if !seven => format!("routeros-{architecture}-{version}.npk"),
        _ => format!("{package}-{version}-{architecture}.npk"),
    }
}

/// What a router has to be given so that it runs `version`: `routeros`, what it has beside it now, and what is wanted.
/// Disabled packages are given too: a package of another version is taken away with the old one.
pub fn needed<'a>(
    installed: impl IntoIterator<Item = &'a str>,
    version: &str,
    wanted: &'a [String],
) -> BTreeSet<&'a str> {
    let seven = is_seven(version);
    let kept = installed.into_iter().filter(|name| match seven {
        true => EXTRAS.contains(name),
        // Version 6 comes as one bundle; what goes beside it has the same name in both.
        false => EXTRAS.contains(name) && !["wireless"].contains(name),
    });
    let wanted = wanted.iter().map(String::as_str);
    kept.chain(wanted)
        .filter(|name| !MERGED.contains(name))
        .chain(["routeros"])
        .collect()
}

/// Whether a package has to be there after an upgrade under the same name: one of the bundle of 6 does not.
pub fn is_kept(package: &str, version: &str) -> bool {
    !is_seven(version) || EXTRAS.contains(&package) || package == "routeros"
}

/// Whether a package of version 6 comes with the bundle.
pub fn is_bundled(package: &str) -> bool {
    MERGED.contains(&package) || package == "wireless"
}

fn is_seven(version: &str) -> bool {
    number(version) >= number("7.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_has_goes_with_it() {
        let names = |installed: &[&str], version: &str, wanted: &[&str]| {
            let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>();
            let needed = needed(installed.iter().copied(), version, &wanted);
            needed
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            names(&["system", "dhcp", "ntp", "user-manager"], "7.12.1", &[]),
            "routeros user-manager"
        );
        assert_eq!(
            names(&["routeros", "container"], "7.16.2", &["wireless"]),
            "container routeros wireless"
        );
        assert_eq!(names(&["routeros", "my-own"], "7.16.2", &[]), "routeros");
        assert!(is_kept("container", "7.16.2") && !is_kept("dhcp", "7.12.1"));
    }
}
