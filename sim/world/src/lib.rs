//! What the system stands on when it is simulated: executor, TCP, disk, clocks, faults; knows no RocketMQ.
