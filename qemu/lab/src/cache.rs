// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The cache: where things are, what they were made of, who is making them.
//!
//! A product is a directory with a stamp that holds the key of its inputs. The
//! stamp is written last: a directory without one is half made and is thrown
//! away. A lock per product makes concurrent runs wait for each other.

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use rustix::fs::FlockOperation;
use sha2::Digest;
use sha2::Sha256;
use walkdir::WalkDir;

/// The places of this run.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The tree, as seen inside the root.
    pub(crate) tree: PathBuf,
    /// The cache, as seen inside the root.
    pub(crate) cache: PathBuf,
    /// What belongs to this tree alone.
    pub(crate) place: PathBuf,
    host_tree: String,
    host_cache: String,
}

impl Places {
    /// Takes the places from the environment that `qemu/enter` sets.
    pub(crate) fn from_environment() -> Result<Self> {
        let var = |name: &str| {
            std::env::var(name)
                .with_context(|| format!("{name} is not set: start this through qemu/enter"))
        };
        Ok(Self {
            tree: PathBuf::from("/userdma"),
            cache: PathBuf::from("/cache"),
            place: var("USERDMA_PLACE")?.into(),
            host_tree: var("USERDMA_HOST_TREE")?,
            host_cache: var("USERDMA_HOST_CACHE")?,
        })
    }

    /// The places of a copy of the tree, with a cache of its own, all below
    /// `directory` of this one.
    pub(crate) fn elsewhere(&self, directory: &Path) -> Self {
        let tree = directory.join("tree");
        Self {
            host_tree: self.outside(&tree),
            host_cache: self.outside(directory),
            tree,
            cache: directory.to_owned(),
            place: directory.join("work"),
        }
    }

    /// A path of the cache.
    pub(crate) fn cached(&self, path: impl AsRef<Path>) -> PathBuf {
        self.cache.join(path)
    }

    /// The log of a step.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.place.join("logs").join(format!("{name}.log"))
    }

    /// A path as the person outside of the root knows it.
    pub(crate) fn outside(&self, path: &Path) -> String {
        for (inside, outside) in [
            (&self.cache, &self.host_cache),
            (&self.tree, &self.host_tree),
        ] {
            if let Ok(rest) = path.strip_prefix(inside) {
                return Path::new(outside).join(rest).display().to_string();
            }
        }
        path.display().to_string()
    }
}

/// A hash over everything that a product is made of.
#[derive(Clone, Debug)]
pub(crate) struct Key(Sha256);

impl Key {
    /// Starts a key; `recipe` names the product and the version of its recipe.
    pub(crate) fn new(recipe: &str) -> Self {
        Self(Sha256::new()).text(recipe)
    }

    /// Adds a text. Its length goes in too: "ab" + "c" is not "a" + "bc".
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
        self
    }

    /// Adds a file: its content, not its time.
    pub(crate) fn file(self, path: &Path) -> Result<Self> {
        let content = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let mut key = self;
        key.0.update((content.len() as u64).to_le_bytes());
        key.0.update(content);
        Ok(key)
    }

    /// Adds every source file below a directory of the tree, or a single file;
    /// what a build leaves there and editors' files do not count.
    pub(crate) fn sources(mut self, tree: &Path, below: &str) -> Result<Self> {
        let files = WalkDir::new(tree.join(below))
            .sort_by_file_name()
            .into_iter()
            .filter_entry(|entry| !is_product(&entry.file_name().to_string_lossy()));
        for entry in files {
            let entry = entry.with_context(|| format!("looking through {below}"))?;
            if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(tree).unwrap_or(entry.path());
                self = self.text(&name.to_string_lossy()).file(entry.path())?;
            }
        }
        Ok(self)
    }

    /// The key in hexadecimal.
    pub(crate) fn hex(&self) -> String {
        let mut text = String::new();
        for byte in &self.0.clone().finalize()[..12] {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

fn is_product(name: &str) -> bool {
    let hidden = name.starts_with('.') && name.len() > 1;
    let ends = [
        ".o", ".ko", ".mod", ".mod.c", ".rmeta", "~", ".cmd", ".order", ".symvers",
    ];
    hidden || name == "target" || ends.iter().any(|end| name.ends_with(end))
}

/// A directory that is whole or gets made anew.
#[derive(Debug)]
pub(crate) struct Product {
    /// The directory.
    pub(crate) path: PathBuf,
    key: String,
}

impl Product {
    /// The product in directory `path`, made of what `key` says.
    pub(crate) fn new(path: PathBuf, key: &Key) -> Self {
        Self {
            path,
            key: key.hex(),
        }
    }

    /// Whether it is whole and made of the same things.
    pub(crate) fn is_ready(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|text| text == self.key)
    }

    /// Empties the directory for a new start.
    pub(crate) fn begin(&self) -> Result<()> {
        if self.path.exists() {
            // First the stamp: a deletion that is cut short leaves no whole
            // looking directory.
            let _ = fs::remove_file(self.stamp());
            fs::remove_dir_all(&self.path)
                .with_context(|| format!("removing {}", self.path.display()))?;
        }
        fs::create_dir_all(&self.path).with_context(|| format!("creating {}", self.path.display()))
    }

    /// Declares the directory whole.
    pub(crate) fn finish(&self) -> Result<()> {
        write_atomically(&self.stamp(), self.key.as_bytes())
    }

    fn stamp(&self) -> PathBuf {
        self.path.join(".made-of")
    }
}

/// Writes a file so that a reader sees all of it or the old one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)
        .with_context(|| format!("writing to {}", directory.display()))?;
    std::io::Write::write_all(&mut file, content)?;
    file.persist(path)
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}

/// A lock among all runs on this cache; released when dropped, and by the
/// kernel when its holder dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock `name`; `waiting` is called if another run holds it.
    pub(crate) fn take(places: &Places, name: &str, waiting: impl FnOnce()) -> Result<Self> {
        let directory = places.cached("locks");
        fs::create_dir_all(&directory)?;
        let path = directory.join(name);
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            waiting();
            rustix::fs::flock(&file, FlockOperation::LockExclusive)
                .with_context(|| format!("locking {}", path.display()))?;
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_tells_boundaries_apart() {
        let one = Key::new("x").text("ab").text("c");
        let two = Key::new("x").text("a").text("bc");
        assert_ne!(one.hex(), two.hex());
        assert_eq!(one.hex(), Key::new("x").text("ab").text("c").hex());
    }

    #[test]
    fn sources_count_content_and_name_but_no_products() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let tree = directory.path();
        fs::create_dir(tree.join("rust"))?;
        fs::write(tree.join("rust/a.rs"), "1")?;
        let key = |recipe: &str| Key::new(recipe).sources(tree, "rust").map(|key| key.hex());
        let first = key("r")?;
        fs::write(tree.join("rust/a.o"), "object")?;
        assert_eq!(first, key("r")?);
        fs::write(tree.join("rust/a.rs"), "2")?;
        let changed = key("r")?;
        assert_ne!(first, changed);
        fs::rename(tree.join("rust/a.rs"), tree.join("rust/b.rs"))?;
        assert_ne!(changed, key("r")?);
        Ok(())
    }

    #[test]
    fn product_is_ready_only_when_finished_with_the_same_key() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("p");
        let product = Product::new(path.clone(), &Key::new("1"));
        product.begin()?;
        assert!(!product.is_ready());
        product.finish()?;
        assert!(product.is_ready());
        let other = Product::new(path, &Key::new("2"));
        assert!(!other.is_ready());
        other.begin()?;
        assert!(!product.is_ready());
        Ok(())
    }
}
