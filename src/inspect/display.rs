//! Reports as text.

use super::{Deadlock, Inspection, ObjectReport, Party, WaitReport};
use core::fmt;

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}", self.process, self.pid)?;
        if self.thread != 0 && self.thread != self.pid {
            write!(f, ", thread {}", self.thread)?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for WaitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            kind,
            object,
            what,
            waited,
        } = self;
        write!(f, "{who} waits for {kind} {object}")?;
        if what != kind && *what != "lock" {
            write!(f, " ({what})")?;
        }
        write!(f, " for {:.1} s", waited.as_secs_f64())
    }
}

impl fmt::Display for ObjectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} references", self.kind, self.number, self.references)?;
        for (name, value) in &self.figures {
            write!(f, ", {name} {value}")?;
        }
        if let Some(holder) = &self.holder {
            write!(f, ", held by {holder}")?;
        }
        for user in self.users.iter().filter(|user| user.has != 0) {
            write!(f, ", pid {} has {}", user.pid, user.has)?;
        }
        Ok(())
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "deadlock of {}:", self.waits.len())?;
        for (i, wait) in self.waits.iter().enumerate() {
            let holder = &self.waits[(i + 1) % self.waits.len()].who;
            writeln!(f, "  {wait}, which {holder} holds")?;
        }
        Ok(())
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} processes", self.processes.len())?;
        for it in &self.processes {
            let daemon = if it.daemon { ", daemon" } else { "" };
            writeln!(
                f,
                "  {} (pid {}{daemon}): {} references",
                it.name, it.pid, it.holds
            )?;
        }
        writeln!(f, "{} objects", self.objects.len())?;
        for object in &self.objects {
            writeln!(f, "  {object}")?;
        }
        writeln!(f, "{} waits", self.waits.len())?;
        for wait in &self.waits {
            writeln!(f, "  {wait}")?;
        }
        self.deadlocks.iter().try_for_each(|deadlock| deadlock.fmt(f))
    }
}
