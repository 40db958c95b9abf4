//! The one seam to the outside world: tokio in production, the simulated world under cfg(madsim).
