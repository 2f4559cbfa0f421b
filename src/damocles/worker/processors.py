"""From the `[processors]` section to what runs the stages."""

from damocles.stages.supervision import executor, pool
from damocles.worker.config import model
from damocles.worker.config.load import Config, Group


def stages(config: Config, log: pool.LogSink) -> executor.Stages:
    """Return the stages as configured; enter it to start the configured children. `log` takes their stderr."""
    processors = config.processors
    token = config.sector_manager.piece_token
    # For processors of others, which know no other way; ours get it with the task, for the origins that may see it.
    secret = {"PIECE_FETCHER_TOKEN": token.get_secret_value()} if token else {}
    groups = {
        stage: [
            _group(group, secret if stage == "add_pieces" and group.bin is not None else {})
            for group in processors.groups(stage)
        ]
        for stage in (*model.GROUP_STAGES, pool.DAEMONS)
        if processors.groups(stage)
    }
    return executor.Stages(
        groups=groups,
        concurrent=processors.concurrent,
        staggered=processors.limitation.staggered,
        locks=processors.ext_locks,
        log=log,
    )


def _group(group: Group, secret: dict[str, str]) -> pool.ProcessorGroup:
    return pool.ProcessorGroup(
        bin=group.bin,
        args=group.args,
        stable_wait_seconds=group.stable_wait,
        envs={**group.envs, **secret},
        inherit_envs=group.inherit_envs,
        concurrent=group.concurrent,
        locks=group.locks,
        auto_restart=group.auto_restart,
        numa_preferred=group.numa_preferred,
        cgroup_group_name=group.cgroup.group_name,
        cgroup_cpuset=group.cgroup.cpuset,
    )
