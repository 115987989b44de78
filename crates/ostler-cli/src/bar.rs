//! The progress bar below the lines of several files.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two pictures.
const TICK: Duration = Duration::from_millis(100);

/// A progress bar that can make room for a question.
#[derive(Debug)]
pub(crate) struct Bar {
    steps: u64,
    done: u64,
    message: String,
    elapsed: Duration,
    shown: Option<ProgressBar>,
}

impl Bar {
    /// Shows it, over so many steps.
    pub(crate) fn new(steps: u64) -> Self {
        let mut bar = Self { steps, done: 0, message: String::new(), elapsed: Duration::ZERO, shown: None };
        bar.show();
        bar
    }

    /// So many steps more are done, and this runs now.
    pub(crate) fn step(&mut self, steps: u64, message: String) {
        self.done += steps;
        self.message = message;
        if let Some(shown) = &self.shown {
            shown.set_position(self.done);
            shown.set_message(self.message.clone());
        }
    }

    /// Does this without the bar in the way.
    pub(crate) fn aside(&self, work: impl FnOnce()) {
        match &self.shown {
            Some(shown) => shown.suspend(work),
            None => work(),
        }
    }

    /// Takes it away.
    pub(crate) fn hide(&mut self) {
        if let Some(shown) = self.shown.take() {
            self.elapsed = shown.elapsed();
            shown.finish_and_clear();
        }
    }

    /// Brings it back.
    pub(crate) fn show(&mut self) {
        if self.shown.is_some() {
            return;
        }
        let style =
            ProgressStyle::with_template("{spinner} {bar:24.cyan} {pos}/{len} in {elapsed}  {wide_msg}")
                .expect("the template is a constant, and a test shows it")
                .progress_chars("━━╌");
        let shown = ProgressBar::with_draw_target(Some(self.steps), ProgressDrawTarget::stderr())
            .with_style(style)
            .with_position(self.done)
            .with_message(self.message.clone())
            .with_elapsed(self.elapsed);
        shown.enable_steady_tick(TICK);
        self.shown = Some(shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_its_place_while_it_is_hidden() {
        let mut bar = Bar::new(3);
        bar.step(1, "b.py".into());
        bar.hide();
        bar.step(1, "c.py".into());
        bar.show();
        let shown = bar.shown.as_ref().unwrap();
        assert_eq!((shown.position(), shown.message().as_str()), (2, "c.py"));
        bar.hide();
    }
}
