//! What the servers take of the machine while something is measured, and what is taken by programs that have
//! nothing to do with it: figures of a disturbed run are worth less, and say so.

use std::thread;
use std::time::Instant;

use anyhow::Result;

use crate::site::Site;
use crate::usage::{cpu_seconds, machine_cpu_seconds};

/// Runs from its start on.
pub struct Meter<'a> {
    site: &'a Site,
    begun: Instant,
    before: Cpu,
}

/// What it showed at its stop.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub mysqld_cpu_seconds: f64,
    pub broker_cpu_seconds: f64,
    /// How much of all cores neither the servers nor we nor the measured process took, from 0 to 1.
    pub disturbed: f64,
}

/// Processor seconds so far.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    mysqld_seconds: f64,
    broker_seconds: f64,
    own_seconds: f64,
    machine_seconds: f64,
}

impl Meter<'_> {
    pub fn start(site: &Site) -> Result<Meter<'_>> {
        Ok(Meter { site, before: Cpu::now(site)?, begun: Instant::now() })
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// `measured_seconds`: what the measured process took meanwhile.
    pub fn stop(self, measured_seconds: f64) -> Result<Reading> {
        let (elapsed, now) = (self.seconds(), Cpu::now(self.site)?);
        let cores = thread::available_parallelism()?.get() as f64;
        let mysqld_cpu_seconds = now.mysqld_seconds - self.before.mysqld_seconds;
        let broker_cpu_seconds = now.broker_seconds - self.before.broker_seconds;
        let own_seconds = now.own_seconds - self.before.own_seconds;
        let ours = mysqld_cpu_seconds + broker_cpu_seconds + own_seconds + measured_seconds;
        let others = now.machine_seconds - self.before.machine_seconds - ours;
        let disturbed = (others / (elapsed * cores)).max(0.0);
        Ok(Reading { mysqld_cpu_seconds, broker_cpu_seconds, disturbed })
    }
}

impl Cpu {
    fn now(site: &Site) -> Result<Cpu> {
        Ok(Cpu {
            mysqld_seconds: cpu_seconds(site.mysql.pid())?,
            broker_seconds: site.broker_pids().into_iter().map(cpu_seconds).sum::<Result<f64>>()?,
            own_seconds: cpu_seconds(std::process::id())?,
            machine_seconds: machine_cpu_seconds()?,
        })
    }
}
