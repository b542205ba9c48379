// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Brings everything that a guest needs into the cache: the kernel and the
//! module in one lane, user space and models of cards in the other; and the debug
//! kernel behind them, while stock guests may be running already.

use std::panic::catch_unwind;
use std::panic::AssertUnwindSafe;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

use anyhow::anyhow;
use anyhow::Result;

use crate::cache::Places;
use crate::config::Config;
use crate::image;
use crate::image::Image;
use crate::kernel;
use crate::kernel::stock::Stock;
use crate::kernel::Flavour;
use crate::kernel::Kernel;
use crate::models;
use crate::models::Programs;
use crate::module;
use crate::module::Module;
use crate::step::Steps;
use crate::userspace;

/// A kernel, and the module built for it.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) kernel: Kernel,
    pub(crate) module: Module,
}

/// All that is ready to boot.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) stock: Stock,
    /// The stock kernel with its module.
    pub(crate) pair: Pair,
    pub(crate) image: Image,
    /// The models of cards, if a guest is to have one.
    pub(crate) models: Option<Programs>,
}

impl Prepared {
    /// A kernel with its module; the debug kernel is made first if need be.
    pub(crate) fn pair(&self, places: &Places, steps: &Steps, flavour: Flavour) -> Result<Pair> {
        match flavour {
            Flavour::Stock => Ok(self.pair.clone()),
            Flavour::Debug => debug(places, steps, &self.stock),
        }
    }
}

/// Prepares all that the stock kernel needs, and if asked to the `models` of cards.
pub(crate) fn all(
    places: &Places,
    steps: &Steps,
    config: &Config,
    models: bool,
) -> Result<Prepared> {
    let (kernel_lane, user_lane) = std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            let programs = userspace::build(places, steps)?;
            let models = models.then(|| models::build(places, steps)).transpose()?;
            anyhow::Ok((programs, models))
        });
        let kernel = kernel::stock::prepare(places, steps)
            .and_then(|stock| Ok((module::build(places, steps, &stock.kernel)?, stock)));
        (kernel, user.join())
    });
    let (module, stock) = kernel_lane?;
    let (programs, models) = user_lane.map_err(|_| anyhow!("the user-space lane panicked"))??;
    let stock_modules = stock.module_files(&config.stock_modules())?;
    let image = image::build(places, steps, &stock, &programs, &stock_modules)?;
    Ok(Prepared {
        pair: Pair {
            kernel: stock.kernel.clone(),
            module,
        },
        stock,
        image,
        models,
    })
}

/// Prepares the debug kernel and the module for it.
pub(crate) fn debug(places: &Places, steps: &Steps, stock: &Stock) -> Result<Pair> {
    let kernel = kernel::debug::prepare(places, steps, stock)?;
    let module = module::build(places, steps, &kernel)?;
    Ok(Pair { kernel, module })
}

/// What another thread is making.
#[derive(Debug, Default)]
pub(crate) struct Later {
    made: Mutex<Option<Result<Pair, String>>>,
    done: Condvar,
}

impl Later {
    /// Makes it, and hands over what came of that.
    pub(crate) fn make(&self, make: impl FnOnce() -> Result<Pair>) {
        let result = catch_unwind(AssertUnwindSafe(make))
            .unwrap_or_else(|_| Err(anyhow!("the debug kernel's lane panicked")))
            .map_err(|error| format!("{error:#}"));
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.done.notify_all();
    }

    /// Waits for it.
    pub(crate) fn wait(&self) -> Result<Pair> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self
            .done
            .wait_while(made, |made| made.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Ok(pair)) => Ok(pair.clone()),
            Some(Err(error)) => Err(anyhow!(error.clone())),
            None => Err(anyhow!("nobody made it")),
        }
    }
}
