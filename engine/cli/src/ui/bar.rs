use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Ui, bytes, canvas::Canvas};

/// Without a terminal, it is said this often how far it is.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// In a second.
const REDRAWS: u8 = 10;

/// How far one long piece of work is; gone when it ends. Without a terminal, a plain line now and then.
pub(crate) struct Bar {
    ui: Ui,
    what: &'static str,
    drawn: Option<ProgressBar>,
    said: Mutex<Instant>,
}

impl Bar {
    /// Work that is measured in bytes.
    pub(crate) fn of_bytes(ui: Ui, what: &'static str) -> Self {
        let drawn = ui.is_live().then(|| {
            let target = ProgressDrawTarget::term_like_with_hz(Box::new(Canvas::default()), REDRAWS);
            let bar = ProgressBar::with_draw_target(Some(1), target);
            let color = if ui.has_color() { ".cyan/dim" } else { "" };
            let template = format!("{what}  {{bar:24{color}}}  {{binary_bytes}}/{{binary_total_bytes}} · {{binary_bytes_per_sec}} · {{eta}} left");
            let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━╸─"));
            bar
        });
        Self { ui, what, drawn, said: Mutex::new(Instant::now()) }
    }

    /// May be called from several threads.
    pub(crate) fn advance(&self, done: u64, total: u64) {
        if let Some(bar) = &self.drawn {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() >= PLAIN_INTERVAL {
            *said = Instant::now();
            self.ui.say(&format!("{}: {} of {}", self.what, bytes(done), bytes(total)));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.drawn {
            bar.finish_and_clear();
        }
    }
}
