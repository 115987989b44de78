//! How much of what a worker says reaches the log of the host: a flood of complaints is one line a second, with its number.

/// Lines of one worker that are logged in a second.
const LOGGED_A_SECOND: u32 = 100;

/// What one worker has had logged since the last look at it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    logged: u32,
    left_out: u64,
}

impl Notes {
    /// Whether one more line is logged.
    pub(crate) fn admit(&mut self) -> bool {
        let room = self.logged < LOGGED_A_SECOND;
        if room {
            self.logged += 1;
        } else {
            self.left_out += 1;
        }
        room
    }

    /// A second has passed. Returns how many lines were left out in it, if any were.
    pub(crate) fn renew(&mut self) -> Option<u64> {
        let left_out = std::mem::take(self).left_out;
        (left_out > 0).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted_and_the_next_second_is_a_new_one() {
        let mut notes = Notes::default();
        for _ in 0..2 {
            let logged = (0..1_000).filter(|_| notes.admit()).count();
            assert_eq!(logged, LOGGED_A_SECOND as usize);
            assert_eq!(notes.renew(), Some(900));
        }
        assert!(notes.admit());
        assert_eq!(notes.renew(), None);
    }
}
