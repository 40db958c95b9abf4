//! Reads the files of a broker.

use world::{Node, World};

use super::cluster::STORE;
use crate::clients::Shared;
use crate::history::Image;
use crate::image;

/// Reads a broker's files.
pub(super) fn take_image(shared: &Shared, node: Node, when: &'static str) -> Image {
    let disk = node.disk();
    let under = format!("{STORE}/");
    let wanted = |path: &String| {
        let inside = path.strip_prefix(&under)?;
        let kept = ["commitlog/", "consumequeue/", "config/queues.json"];
        kept.iter().any(|start| inside.starts_with(start)).then(|| inside.to_owned())
    };
    let mut files = Vec::new();
    for path in disk.paths() {
        if let Some(inside) = wanted(&path) {
            files.push((inside, disk.contents(&path).unwrap_or_default()));
        }
    }
    let live = shared.recorder.live();
    let at_ns = World::current().elapsed().as_nanos() as u64;
    let id = live.history.known_node(&node.name()).expect("brokers are known");
    image::read(&live.history, id, at_ns, when, &files)
}
