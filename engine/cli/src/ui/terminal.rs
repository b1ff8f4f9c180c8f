use std::io::{self, ErrorKind, IsTerminal, Write};

use miette::{GraphicalReportHandler, GraphicalTheme, Report};

use crate::{args::Color, config::Verbosity, environment::Environment};

/// How and how much to say. Passed around by value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Of what goes to standard error.
    color: bool,
    /// Of what goes to standard output.
    data_color: bool,
    live: bool,
    verbosity: Verbosity,
}

/// Reports wrap here; longer lines are hard to read.
const REPORT_WIDTH: usize = 100;

impl Ui {
    /// As the settings and the terminal ask for.
    pub(crate) fn new(environment: &Environment) -> Self {
        let wanted = |terminal: bool| match environment.config.color {
            Some(Color::Always) => true,
            Some(Color::Never) => false,
            Some(Color::Auto) | None => terminal,
        };
        let verbosity = environment.config.verbosity.unwrap_or_default();
        let terminal = io::stderr().is_terminal();
        Self {
            color: wanted(terminal),
            data_color: wanted(io::stdout().is_terminal()),
            live: terminal && verbosity != Verbosity::Quiet && environment.redraws,
            verbosity,
        }
    }

    /// Whether lines may be redrawn.
    pub(crate) fn is_live(self) -> bool {
        self.live
    }

    /// How many columns standard output has, if it is a terminal.
    #[expect(clippy::unused_self, reason = "all output goes through the one writer")]
    pub(crate) fn data_width(self) -> Option<usize> {
        columns(io::stdout())
    }

    /// How many columns standard error has, if it is a terminal.
    #[expect(clippy::unused_self, reason = "all output goes through the one writer")]
    pub(crate) fn width(self) -> Option<usize> {
        columns(io::stderr())
    }

    /// Whether to say everything.
    pub(crate) fn is_verbose(self) -> bool {
        self.verbosity == Verbosity::Verbose
    }

    /// Whether what people read is coloured.
    pub(crate) fn has_color(self) -> bool {
        self.color
    }

    /// Text and a line's end to standard output, for scripts and pipes. A full disk is an error, a reader that went away,
    /// as in `| head`, is none.
    #[expect(clippy::unused_self, reason = "all output goes through the one writer")]
    pub(crate) fn data(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), format!("standard output cannot be written: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// One line for people.
    pub(crate) fn say(self, line: &str) {
        if self.verbosity != Verbosity::Quiet {
            self.insist(line);
        }
    }

    /// One line for people that `--quiet` does not hide.
    #[expect(clippy::unused_self, reason = "all output goes through the one writer")]
    pub(crate) fn insist(self, line: &str) {
        // Nobody is left to be told that nobody listens.
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    }

    /// Something unexpected that is no error.
    pub(crate) fn note(self, line: &str) {
        self.say(&format!("{} {line}", self.paint("note:", "33")));
    }

    /// Something odd about the user's files, in full, unless the user wants errors only.
    pub(crate) fn warning(self, report: &Report) {
        if self.verbosity != Verbosity::Quiet {
            self.report(report);
        }
    }

    /// An error, in full.
    pub(crate) fn report(self, report: &Report) {
        let theme = if self.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_width(REPORT_WIDTH).with_links(false);
        let rendered = handler.render_report(&mut text, report.as_ref());
        self.insist(if rendered.is_ok() { text.trim_end() } else { "an error that cannot be shown" });
    }

    /// Text for standard error in a colour given by its SGR code, where colour is wanted.
    pub(crate) fn paint(self, text: &str, code: &str) -> String {
        painted(self.color, text, code)
    }

    /// The same for standard output.
    pub(crate) fn paint_data(self, text: &str, code: &str) -> String {
        painted(self.data_color, text, code)
    }
}

/// A terminal that does not know its own width tells nought.
fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

fn painted(color: bool, text: &str, code: &str) -> String {
    if color && !text.is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}
