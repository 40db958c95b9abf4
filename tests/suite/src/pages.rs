//! The step `pages`: opens the pages for people in a browser, light and dark, wide and narrow, and fails when one does not
//! render, is wider than its window, or complains.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Pages that are there after the step `scenarios`, or in the repository.
const PAGES: &[&str] = &["reports/index.html", "reports/example/failure/index.html"];
const WIDTHS: &[u32] = &[1400, 500];
const HEIGHT: u32 = 2400;
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Installs a browser when there is none and the system's package manager can.
pub(crate) fn install(log: &mut impl Write) -> Result<()> {
    if browser().is_some() {
        return Ok(());
    }
    let arguments = ["install", "-y", "--no-install-recommends", "chromium"];
    let done = Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output();
    match done {
        Ok(done) => log.write_all(&[done.stdout, done.stderr].concat())?,
        Err(error) => writeln!(log, "apt-get: {error}")?,
    }
    if browser().is_none() {
        bail!("the step `pages` needs a browser: install chromium");
    }
    Ok(())
}

fn browser() -> Option<&'static str> {
    let have =
        |program: &&&str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    BROWSERS.iter().find(have).copied()
}

/// Looks at every page.
pub(crate) fn look(root: &Path, mut log: impl Write) -> Result<()> {
    let browser = browser().context("there is no browser: run the step `tools`, or install chromium")?;
    let folder = root.join("target/suite/pages");
    fs::create_dir_all(&folder)?;
    let empty = folder.join("empty.html");
    fs::write(&empty, "<!doctype html><title>empty</title>")?;
    let mut wrong = Vec::new();
    for page in PAGES {
        let source = root.join(page);
        let text = fs::read_to_string(&source)
            .with_context(|| format!("{page} is missing: run the step `scenarios`"))?;
        if text.len() > 5 << 20 {
            wrong.push(format!("{page} has {} bytes, more than 5 MiB", text.len()));
        }
        let measured = folder.join(format!("{}.html", page.replace('/', "-")));
        fs::write(&measured, text.replace("</body>", &format!("<script>{MEASURE}</script></body>")))?;
        for (width, dark) in WIDTHS.iter().flat_map(|width| [(*width, false), (*width, true)]) {
            let view = View { browser, folder: &folder, width, dark };
            let name = format!("{page}, {width} wide, {}", if dark { "dark" } else { "light" });
            let found = view.check(&measured, &empty);
            writeln!(log, "{name}: {found:?}")?;
            wrong.extend(found?.into_iter().map(|why| format!("{name}: {why}")));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// A window of a browser.
struct View<'a> {
    browser: &'a str,
    folder: &'a Path,
    width: u32,
    dark: bool,
}

impl View<'_> {
    /// What is wrong with a page.
    fn check(&self, page: &Path, empty: &Path) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let (dom, complaints) = self.open(page, &["--dump-dom", "--enable-logging=stderr"])?;
        wrong.extend(complaints.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned));
        let dom = String::from_utf8_lossy(&dom);
        let told = |name: &str| {
            let value = dom.split(&format!("data-{name}=\"")).nth(1)?.split('"').next()?;
            Some(value.to_owned())
        };
        match (told("wider"), told("dark"), told("text")) {
            (Some(wider), Some(dark), Some(text)) => {
                if wider != "0" {
                    wrong.push(format!("it is {wider} pixels wider than its window"));
                }
                if dark != self.dark.to_string() {
                    wrong.push(format!("the browser shows it as if dark were {dark}"));
                }
                if text.parse::<u64>().unwrap_or(0) < 500 {
                    wrong.push(format!("it shows {text} letters"));
                }
            }
            _ => wrong.push("its scripts did not run".to_owned()),
        }
        // A picture of nothing is packed into little.
        let (shown, nothing) = (self.picture(page)?, self.picture(empty)?);
        if shown < nothing * 3 {
            wrong.push(format!("its picture takes {shown} bytes, that of an empty page {nothing}"));
        }
        Ok(wrong)
    }

    fn picture(&self, page: &Path) -> Result<u64> {
        let name = page.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let file: PathBuf = self.folder.join(format!(
            "{name}-{}-{}.png",
            self.width,
            if self.dark { "dark" } else { "light" }
        ));
        self.open(page, &[&format!("--screenshot={}", file.display())])?;
        Ok(fs::metadata(&file).context("the browser made no picture")?.len())
    }

    /// What the browser printed, and its log.
    fn open(&self, page: &Path, arguments: &[&str]) -> Result<(Vec<u8>, String)> {
        let profile = self.folder.join("profile");
        let _ = fs::remove_dir_all(&profile);
        let output = Command::new(self.browser)
            .args(FLAGS)
            .args(self.dark.then_some("--force-dark-mode"))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--window-size={},{HEIGHT}", self.width))
            .args(arguments)
            .arg(format!("file://{}", page.display()))
            .output()
            .with_context(|| format!("{} cannot be started", self.browser))?;
        if !output.status.success() {
            bail!("{} ended with {}", self.browser, output.status);
        }
        Ok((output.stdout, String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=5000",
];

/// Written into the page where it can be read back.
const MEASURE: &str = "{ const at = document.documentElement.dataset;
  at.wider = Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth);
  at.dark = matchMedia('(prefers-color-scheme: dark)').matches;
  at.text = document.body.innerText.length; }";
