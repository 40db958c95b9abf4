//! `cargo run -p golden`: makes the golden files again from the real Java classes.

use std::{fs, path::Path};

use anyhow::Result;

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(here.join("data"))?;
    for version in golden::VERSIONS {
        let java = golden::Java::prepare(
            version,
            &["rocketmq-client", "rocketmq-tools"],
            &here.join("java/Golden.java"),
        )?;
        let lines = golden::run(&mut java.command("Golden"))?;
        fs::write(here.join(format!("data/{version}.txt")), lines)?;
    }
    Ok(())
}
