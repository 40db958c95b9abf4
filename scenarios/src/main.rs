//! The `sim` program: runs scenarios in the simulated world and reports.

#[cfg(madsim)]
mod program;

#[cfg(madsim)]
use scenarios::list;

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    program::main()
}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    eprintln!("this program was built without the simulator: run it as `cargo sim`, with RUSTFLAGS unset");
    std::process::ExitCode::from(2)
}
