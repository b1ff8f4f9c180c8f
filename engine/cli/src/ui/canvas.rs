use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use indicatif::TermLike;

/// The terminal's lines as the bars are drawn on them.
///
/// It is two columns narrower than the terminal: the bars leave the cursor at the end of their last line, and the `^C`
/// that a terminal writes there by itself would begin a line that nobody clears. The bars fill every line with spaces and
/// trust the terminal to begin the next one; here a line is ended.
#[derive(Debug, Default)]
pub(super) struct Canvas(Mutex<Drawn>);

/// What goes out in one piece, so that nothing flickers.
#[derive(Debug, Default)]
struct Drawn {
    text: String,
    line_is_full: bool,
}

const CONTROL_C: u16 = 2;
const USUAL_WIDTH: u16 = 80;
const USUAL_HEIGHT: u16 = 24;

impl Canvas {
    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws at a place of its own, not behind the last line.
    fn draw(&self, text: &str) {
        let mut drawn = self.drawn();
        drawn.text.push_str(text);
        drawn.line_is_full = false;
    }

    /// Moves the cursor by `n`; an escape sequence with a nought would move it by one.
    fn step(&self, n: usize, direction: char) {
        if n > 0 {
            self.draw(&format!("\u{1b}[{n}{direction}"));
        }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(USUAL_WIDTH, |size| size.ws_col);
        columns.saturating_sub(CONTROL_C).max(1)
    }

    fn height(&self) -> u16 {
        rustix::termios::tcgetwinsize(io::stderr()).map_or(USUAL_HEIGHT, |size| size.ws_row)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(text);
        self.draw("\n");
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut drawn = self.drawn();
        let is_filler = text.bytes().all(|byte| byte == b' ');
        if drawn.line_is_full && !is_filler {
            drawn.text.push('\n');
        }
        drawn.line_is_full = is_filler;
        drawn.text.push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\u{1b}[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let text = std::mem::take(&mut self.drawn().text);
        let mut out = io::stderr().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_the_bars_only_fill_are_ended() {
        let canvas = Canvas::default();
        let draw = || -> io::Result<()> {
            canvas.move_cursor_up(0)?;
            canvas.clear_line()?;
            for line in ["one", "two"] {
                canvas.write_str(line)?;
                canvas.write_str("  ")?;
            }
            canvas.move_cursor_up(1)
        };
        assert!(draw().is_ok());
        assert_eq!(canvas.drawn().text, "\r\u{1b}[2Kone  \ntwo  \u{1b}[1A");
    }
}
