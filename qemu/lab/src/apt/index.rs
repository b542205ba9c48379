// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reads the package index and chooses a kernel in it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyhow::Context;
use anyhow::Result;

use super::Kernel;
use super::Package;
use super::SERIES;
use super::SUITE;
use crate::exec;

/// The kernel's flavour, the end of its release.
const FLAVOUR: &str = "amd64";

/// Whether a package is part of a kernel of the series.
pub(super) fn is_kernel_package(name: &str) -> bool {
    [
        format!("linux-source-{SERIES}"),
        format!("linux-headers-{SERIES}."),
        format!("linux-binary-{SERIES}."),
        format!("linux-modules-{SERIES}."),
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

/// Reads apt's stanzas.
pub(super) fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for stanza in text.split("\n\n") {
        let fields: BTreeMap<&str, &str> = stanza
            .lines()
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_once(": "))
            .collect();
        let field = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        if let (Some(name), Some(version), Some(size), Some(sha256)) = (
            field("Package"),
            field("Version"),
            field("Size"),
            field("SHA256"),
        ) {
            if let Ok(size) = size.parse() {
                packages.push(Package {
                    name,
                    version,
                    size,
                    sha256,
                });
            }
        }
    }
    packages
}

/// The newest kernel of the series of which every package is there, in the
/// same version; `names` are all names, for the error.
pub(super) fn choose(packages: &[Package], names: &str) -> Result<Kernel> {
    let find = |name: &str, version: &str| {
        packages
            .iter()
            .find(|package| package.name == name && package.version == version)
            .cloned()
    };
    let mut kernels: Vec<Kernel> = Vec::new();
    for headers in packages {
        let release = headers
            .name
            .strip_prefix("linux-headers-")
            .filter(|release| release.ends_with(&format!("-{FLAVOUR}")))
            // linux-headers-7.3.4+deb13-rt-amd64 is another flavour.
            .filter(|release| release.matches('-').count() == 1);
        let Some(release) = release else { continue };
        let set: Option<Vec<Package>> = [
            format!("linux-source-{SERIES}"),
            headers.name.clone(),
            format!("linux-binary-{release}"),
            format!("linux-modules-{release}"),
        ]
        .iter()
        .map(|name| find(name, &headers.version))
        .collect();
        if let Some(packages) = set {
            kernels.push(Kernel {
                release: release.to_owned(),
                version: headers.version.clone(),
                packages,
            });
        }
    }
    kernels.sort_by(|a, b| compare(&a.version, &b.version));
    kernels.pop().with_context(|| {
        let mut there: Vec<&str> = names
            .lines()
            .filter(|name| name.starts_with("linux-source-") || name.starts_with("linux-binary-"))
            .collect();
        there.sort_unstable();
        format!(
            "{SUITE} on this mirror has no complete kernel of the {SERIES} series; it has:\n{}     \
             try: another mirror (USERDMA_MIRROR=...); the module needs exactly this series",
            exec::indent(&there.join("\n")),
        )
    })
}

/// Debian's order of versions, as far as these packages use it: runs of digits
/// by number, the rest by character, and `~` before everything.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let rank = |byte: Option<&u8>| match byte {
            Some(b'~') => -1,
            None => 0,
            Some(byte) if byte.is_ascii_digit() => 0,
            Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
            Some(byte) => i32::from(*byte) + 256,
        };
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (m, n) = (digits(a), digits(b));
        if m > 0 || n > 0 {
            let number = |text: &[u8]| {
                std::str::from_utf8(text)
                    .ok()
                    .and_then(|t| t.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            let order = number(&a[..m]).cmp(&number(&b[..n]));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[m..], &b[n..]);
            continue;
        }
        let order = rank(a.first()).cmp(&rank(b.first()));
        if order != Ordering::Equal || a.is_empty() {
            return order;
        }
        (a, b) = (&a[1..], &b[1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(kernels: &[(&str, &str, &str)]) -> String {
        let mut text = String::new();
        for (source, release, version) in kernels {
            for name in [
                format!("linux-source-{source}"),
                format!("linux-headers-{release}"),
                format!("linux-binary-{release}"),
                format!("linux-modules-{release}"),
            ] {
                text += &format!(
                    "Package: {name}\nVersion: {version}\nSize: 5\nDescription: x\n y: z\nSHA256: ab\n\n"
                );
            }
        }
        text
    }

    #[test]
    fn the_newest_point_release_wins() -> Result<()> {
        let text = index(&[
            ("7.3", "7.3.10+deb13-amd64", "7.3.10-1~bpo13+1"),
            ("7.3", "7.3.4+deb13-amd64", "7.3.4-1~bpo13+1"),
        ]);
        let kernel = choose(&parse(&text), "")?;
        assert_eq!(kernel.release, "7.3.10+deb13-amd64");
        assert_eq!(kernel.packages.len(), 4);
        assert_eq!(kernel.package("linux-source-")?.version, "7.3.10-1~bpo13+1");
        Ok(())
    }

    #[test]
    fn an_incomplete_kernel_is_passed_over() -> Result<()> {
        let whole = index(&[("7.3", "7.3.4+deb13-amd64", "7.3.4-1")]);
        let newer =
            "Package: linux-headers-7.3.5+deb13-amd64\nVersion: 7.3.5-1\nSize: 1\nSHA256: x\n\n";
        let kernel = choose(&parse(&(whole + newer)), "")?;
        assert_eq!(kernel.version, "7.3.4-1");
        Ok(())
    }

    #[test]
    fn none_says_which_there_are() {
        let error = choose(
            &[],
            "linux-source-6.12\nlinux-image-amd64\nlinux-source-7.4\n",
        );
        let text = error.expect_err("there is no kernel").to_string();
        assert!(text.contains("linux-source-6.12") && text.contains("linux-source-7.4"));
        assert!(!text.contains("linux-image-amd64"));
    }

    #[test]
    fn versions_compare_as_debian_says() {
        assert_eq!(compare("7.3.10-1", "7.3.9-1"), Ordering::Greater);
        assert_eq!(compare("7.3.4-1~bpo13+1", "7.3.4-1"), Ordering::Less);
        assert_eq!(compare("7.3.4-1", "7.3.4-1"), Ordering::Equal);
        assert_eq!(compare("7.3~rc1-1", "7.3.1-1"), Ordering::Less);
    }
}
