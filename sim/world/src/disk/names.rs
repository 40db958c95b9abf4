//! Folders and the names in them, as the running system sees them and as they would be found after a power loss.
//!
//! A change of names is durable once its folder was synced. Until then a power loss keeps the first so many changes
//! of each folder and drops the rest: a rename that was not synced may never have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use crate::random::Dice;

/// The top folder of a medium.
pub(super) const TOP: u64 = 0;

/// All names of a medium; files and folders are numbers that are never used again.
pub(super) struct Names {
    live: Tree,
    durable: Tree,
    pending: Vec<Change>,
    changes: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Tree {
    folders: BTreeMap<u64, BTreeMap<Box<str>, u64>>,
}

/// One operation; a rename changes two names, perhaps in two folders.
struct Change {
    number: u64,
    edits: Vec<Edit>,
}

struct Edit {
    folder: u64,
    name: Box<str>,
    /// What the name stands for from now on.
    to: Option<u64>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut live = Tree::default();
        live.folders.insert(TOP, BTreeMap::new());
        Self { durable: live.clone(), live, pending: Vec::new(), changes: 0 }
    }

    /// The number of the latest change: a sync that starts now covers up to it.
    pub(super) fn latest(&self) -> u64 {
        self.changes
    }

    pub(super) fn is_folder(&self, id: u64) -> bool {
        self.live.folders.contains_key(&id)
    }

    /// What `path` stands for, seen from the folder `root`.
    pub(super) fn find(&self, root: u64, path: &str) -> Result<u64, ErrorKind> {
        let mut at = root;
        for part in parts(path)? {
            let folder = self.live.folders.get(&at).ok_or(ErrorKind::NotADirectory)?;
            at = *folder.get(part).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The folder `path` stands for.
    pub(super) fn folder(&self, root: u64, path: &str) -> Result<u64, ErrorKind> {
        let found = self.find(root, path)?;
        if self.is_folder(found) { Ok(found) } else { Err(ErrorKind::NotADirectory) }
    }

    /// The names in a folder, in order.
    pub(super) fn list(&self, root: u64, path: &str) -> Result<Vec<String>, ErrorKind> {
        let folder = self.folder(root, path)?;
        Ok(self.live.folders[&folder].keys().map(|name| name.to_string()).collect())
    }

    /// Gives a new file its name.
    pub(super) fn add(&mut self, root: u64, path: &str, id: u64) -> Result<(), ErrorKind> {
        let (folder, name) = self.place(root, path)?;
        if self.live.folders[&folder].contains_key(name) {
            return Err(ErrorKind::AlreadyExists);
        }
        self.change(vec![Edit { folder, name: name.into(), to: Some(id) }]);
        Ok(())
    }

    /// Makes a folder and those above it; `next` numbers new ones.
    pub(super) fn make(&mut self, root: u64, path: &str, next: &mut u64) -> Result<u64, ErrorKind> {
        let mut at = root;
        let mut parts = parts(path)?.peekable();
        while let Some(part) = parts.next() {
            at = match self.live.folders[&at].get(part) {
                Some(found) if self.is_folder(*found) => *found,
                Some(_) if parts.peek().is_none() => return Err(ErrorKind::AlreadyExists),
                Some(_) => return Err(ErrorKind::NotADirectory),
                None => {
                    let made = *next;
                    *next += 1;
                    self.live.folders.insert(made, BTreeMap::new());
                    self.durable.folders.insert(made, BTreeMap::new());
                    self.change(vec![Edit { folder: at, name: part.into(), to: Some(made) }]);
                    made
                }
            };
        }
        Ok(at)
    }

    /// Takes a name away. Answers what it stood for.
    pub(super) fn remove(&mut self, root: u64, path: &str) -> Result<u64, ErrorKind> {
        let (folder, name) = self.place(root, path)?;
        let id = *self.live.folders[&folder].get(name).ok_or(ErrorKind::NotFound)?;
        if self.live.folders.get(&id).is_some_and(|inside| !inside.is_empty()) {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        self.change(vec![Edit { folder, name: name.into(), to: None }]);
        Ok(id)
    }

    /// Renames. Answers what was renamed and what had the new name before.
    pub(super) fn rename(
        &mut self,
        root: u64,
        from: &str,
        to: &str,
    ) -> Result<(u64, Option<u64>), ErrorKind> {
        let (folder, name) = self.place(root, from)?;
        let id = *self.live.folders[&folder].get(name).ok_or(ErrorKind::NotFound)?;
        let (new_folder, new_name) = self.place(root, to)?;
        if self.is_folder(id) && to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(ErrorKind::InvalidInput);
        }
        let replaced = self.live.folders[&new_folder].get(new_name).copied();
        if replaced == Some(id) {
            return Ok((id, None));
        }
        match replaced.map(|old| self.live.folders.get(&old)) {
            Some(Some(_)) if !self.is_folder(id) => return Err(ErrorKind::IsADirectory),
            Some(Some(inside)) if !inside.is_empty() => return Err(ErrorKind::DirectoryNotEmpty),
            Some(None) if self.is_folder(id) => return Err(ErrorKind::NotADirectory),
            _ => {}
        }
        self.change(vec![
            Edit { folder, name: name.into(), to: None },
            Edit { folder: new_folder, name: new_name.into(), to: Some(id) },
        ]);
        Ok((id, replaced))
    }

    /// Makes the changes of a folder durable, up to number `covered`. What they share with other folders takes the
    /// earlier changes of those along, so that each folder keeps its order.
    pub(super) fn make_durable(&mut self, folder: u64, covered: u64) {
        let mut folders = BTreeSet::from([folder]);
        let mut chosen = vec![false; self.pending.len()];
        for (chosen, change) in chosen.iter_mut().zip(&self.pending).rev() {
            if change.number <= covered && change.edits.iter().any(|edit| folders.contains(&edit.folder)) {
                *chosen = true;
                folders.extend(change.edits.iter().map(|edit| edit.folder));
            }
        }
        let mut chosen = chosen.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let settled = chosen.next().unwrap_or(false);
            if settled {
                durable.apply(change);
            }
            !settled
        });
    }

    /// Makes everything durable.
    pub(super) fn settle(&mut self) {
        for change in self.pending.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// The power goes: of the pending changes of each folder a random first part survives, all of it at `rate` 1,
    /// none at 0. Answers how many are lost.
    pub(super) fn lose_power(&mut self, rate: f64, dice: &mut Dice) -> u64 {
        let mut pending = BTreeMap::<u64, u64>::new();
        for change in &self.pending {
            for folder in change.folders() {
                *pending.entry(folder).or_default() += 1;
            }
        }
        let mut left = pending;
        for count in left.values_mut() {
            *count = match rate {
                0.0 => 0,
                1.0 => *count,
                _ => dice.below(*count + 1),
            };
        }
        let mut lost = 0;
        for change in self.pending.drain(..) {
            let survives = change.folders().all(|folder| left[&folder] > 0);
            for folder in change.folders() {
                let left = left.get_mut(&folder).expect("every folder with a change was counted");
                *left = if survives { *left - 1 } else { 0 };
            }
            if survives {
                self.durable.apply(&change);
            } else {
                lost += 1;
            }
        }
        self.live = self.durable.clone();
        lost
    }

    /// Drops folders that nothing can bring back, and answers all numbers that something still names: now, after
    /// a power loss, or in between.
    pub(super) fn collect(&mut self) -> BTreeSet<u64> {
        let pending = self.pending.iter().flat_map(|change| &change.edits).filter_map(|edit| edit.to);
        let mut found = BTreeSet::from([TOP]);
        let mut todo: Vec<u64> = pending.chain([TOP]).collect();
        while let Some(id) = todo.pop() {
            found.insert(id);
            for tree in [&self.live, &self.durable] {
                todo.extend(
                    tree.folders
                        .get(&id)
                        .into_iter()
                        .flat_map(BTreeMap::values)
                        .filter(|id| !found.contains(id)),
                );
            }
        }
        self.live.folders.retain(|id, _| found.contains(id));
        self.durable.folders.retain(|id, _| found.contains(id));
        found
    }

    /// All files with their paths from the top, in order.
    pub(super) fn files(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        self.walk(TOP, "", &mut found);
        found
    }

    fn walk(&self, folder: u64, above: &str, found: &mut Vec<(String, u64)>) {
        for (name, id) in &self.live.folders[&folder] {
            let path = if above.is_empty() { name.to_string() } else { format!("{above}/{name}") };
            if self.is_folder(*id) { self.walk(*id, &path, found) } else { found.push((path, *id)) }
        }
    }

    fn place<'p>(&self, root: u64, path: &'p str) -> Result<(u64, &'p str), ErrorKind> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if path.is_empty() || parts(path).is_err() {
            return Err(ErrorKind::InvalidInput);
        }
        Ok((self.folder(root, above)?, name))
    }

    fn change(&mut self, edits: Vec<Edit>) {
        self.changes += 1;
        let change = Change { number: self.changes, edits };
        self.live.apply(&change);
        self.pending.push(change);
    }
}

impl Tree {
    fn apply(&mut self, change: &Change) {
        for edit in &change.edits {
            let Some(folder) = self.folders.get_mut(&edit.folder) else { continue };
            match edit.to {
                Some(id) => folder.insert(edit.name.clone(), id),
                None => folder.remove(&edit.name),
            };
        }
    }
}

impl Change {
    /// The folders it touches, each once.
    fn folders(&self) -> impl Iterator<Item = u64> + '_ {
        let first = self.edits.first().map(|edit| edit.folder);
        let second = self.edits.get(1).map(|edit| edit.folder).filter(|folder| Some(*folder) != first);
        first.into_iter().chain(second)
    }
}

fn parts(path: &str) -> Result<impl Iterator<Item = &str>, ErrorKind> {
    let plain = path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if plain { Ok(path.split('/').filter(|part| !part.is_empty())) } else { Err(ErrorKind::InvalidInput) }
}
