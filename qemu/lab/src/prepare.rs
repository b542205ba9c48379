// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Brings everything that a guest needs into the cache: the kernel and the
//! module in one lane, user space in the other.

use anyhow::anyhow;
use anyhow::Result;

use crate::cache::Places;
use crate::config::Config;
use crate::image;
use crate::image::Image;
use crate::kernel;
use crate::kernel::Stock;
use crate::module;
use crate::module::Module;
use crate::step::Steps;
use crate::userspace;

/// All that is ready to boot.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) stock: Stock,
    pub(crate) module: Module,
    pub(crate) image: Image,
}

/// Prepares all of it.
pub(crate) fn all(places: &Places, steps: &Steps, config: &Config) -> Result<Prepared> {
    let (kernel_lane, programs) = std::thread::scope(|scope| {
        let user = scope.spawn(|| userspace::build(places, steps));
        let kernel = kernel::prepare(places, steps)
            .and_then(|stock| Ok((module::build(places, steps, &stock)?, stock)));
        (kernel, user.join())
    });
    let (module, stock) = kernel_lane?;
    let programs = programs.map_err(|_| anyhow!("the user-space lane panicked"))??;
    let stock_modules = stock.module_files(&config.stock_modules())?;
    let image = image::build(places, steps, &stock, &module, &programs, &stock_modules)?;
    Ok(Prepared {
        stock,
        module,
        image,
    })
}
