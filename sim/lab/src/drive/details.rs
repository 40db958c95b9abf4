//! What the world kept of a run, in the lab's own words.

use crate::explain::detail::{Detail, Fall, Fallen, Note};

/// Takes it over, with the log lines of the system.
pub(super) fn taken(kept: world::Detail, logs: Vec<String>) -> Detail {
    let nodes: Vec<_> = kept.nodes.into_iter().map(|(name, ip)| (name, ip.to_string())).collect();
    // The history is told by itself.
    let notes = kept.notes.into_iter().filter(|note| note.kind != "history");
    let notes = notes.map(|world::Note { at_ns, node, kind, numbers, bytes }| Note {
        at_ns,
        node: node as usize,
        kind,
        numbers,
        bytes,
    });
    let falls = kept.falls.into_iter().map(|fall| {
        let files = fall.files.into_iter();
        let files =
            files.map(|world::Fallen { path, before, synced, after }| Fallen { path, before, synced, after });
        let node = nodes.get(fall.node as usize).map_or(String::new(), |(name, _)| name.clone());
        Fall { at_ns: fall.at_ns, node, power: fall.power, files: files.collect(), others: fall.others }
    });
    Detail { notes: notes.collect(), falls: falls.collect(), logs, cut_off: kept.cut_off, nodes }
}
