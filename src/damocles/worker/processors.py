"""From the `[processors]` section to what runs the stages."""

from collections.abc import Iterator

from damocles.stages import descriptors
from damocles.stages.admission import costs, machine, policy
from damocles.stages.far import settings
from damocles.stages.supervision import executor, pool
from damocles.wire import sectors
from damocles.worker.config.load import Config, Group
from damocles.worker.config.processors import GROUP_STAGES

_COUNTS = {"off": frozenset[str](), "memory": policy.MEMORY_ALONE, "full": policy.EVERYTHING}


def look(config: Config) -> machine.Machine:
    """Look at the machine as far as stages are admitted by it: a driver that hangs must not hold up who counts no GPUs."""
    admission = config.processors.admission
    counts_gpus = "gpus" in _COUNTS[admission.mode] and admission.gpus is None
    return machine.look(nvidia=machine.query_nvidia if counts_gpus else lambda: None)


def admission(config: Config, has: machine.Machine) -> policy.Policy:
    """Return how stages are admitted to a machine that `has` this; what the configuration names comes first."""
    processors, admission = config.processors, config.processors.admission
    capacity = has.capacity()
    if (scratch := machine.space("scratch", machine.environment_scratch()).free_bytes) is not None:
        capacity["scratch"] = scratch
    said = {name: getattr(admission, name) for name in ("memory", "cores", "gpus", "scratch")}
    capacity.update({name: amount for name, amount in said.items() if amount is not None})
    return policy.Policy(
        capacity=capacity,
        counts=_COUNTS[admission.mode],
        overrides={
            (stage, size): costs.Override(
                memory_bytes=cost.memory, cores=cost.cores, gpus=cost.gpus, scratch_bytes=cost.scratch
            )
            for stage, by_size in processors.costs.items()
            for size, cost in by_size.items()
        },
        foreign={stage for stage in GROUP_STAGES if any(_is_elsewhere(group) for group in processors.groups(stage))},
        refuses=admission.never_fits == "refuse",
    )


def unfit(admitted_by: policy.Policy, sizes: set[sectors.SectorSize]) -> Iterator[str]:
    """Yield a line about each stage that even the empty machine has too little for."""
    outcome = "it is refused" if admitted_by.refuses else "it runs alone, with what there is"
    for size in sorted(sizes):
        for stage in costs.STAGES:
            if (text := admitted_by.unfit(stage, size)) is not None:
                yield f"{descriptors.named(stage).label} of {size.label} {text}: {outcome} (processors.admission)"


def stages(config: Config, log: pool.LogSink, admitted_by: policy.Policy | None = None) -> executor.Stages:
    """Return the stages as configured; enter it to start the configured children. `log` takes their stderr."""
    processors = config.processors
    token = config.sector_manager.piece_token
    # For processors of others, which know no other way; ours get it with the task, for the origins that may see it.
    secret = {"PIECE_FETCHER_TOKEN": token.get_secret_value()} if token else {}
    groups = {
        stage: [
            _group(stage, group, secret if stage == "add_pieces" and group.bin is not None else {})
            for group in processors.groups(stage)
        ]
        for stage in (*GROUP_STAGES, pool.DAEMONS)
        if processors.groups(stage)
    }
    return executor.Stages(
        groups=groups,
        concurrent=processors.concurrent,
        staggered=processors.limitation.staggered,
        locks=processors.ext_locks,
        admitted_by=admitted_by,
        log=log,
    )


def _is_elsewhere(group: Group) -> bool:
    """Whether nobody knows what a group's tasks take of this machine, or it is nothing."""
    return group.bin is not None or (group.executor == "ray" and group.away == "wait")


def _ray(stage: str, group: Group) -> settings.Group | None:
    if group.executor != "ray":
        return None
    assert group.address is not None
    assert group.slots is not None
    return settings.Group(
        stage=stage,
        address=group.address,
        resources=group.resources,
        slots=group.slots,
        away=group.away,
        argv=(group.bin, *(group.args or ("processor", stage))) if group.bin is not None else (),
        envs=group.envs,
        ready_seconds=group.stable_wait,
        lease_seconds=group.lease,
        shared=tuple(str(folder) for folder in group.shared),
        token_file=str(group.token_file) if group.token_file is not None else None,
        insecure=group.insecure,
    )


def far_groups(config: Config) -> Iterator[tuple[str, settings.Group]]:
    """Yield the groups that send tasks to a Ray cluster, with their names in the file."""
    for stage in GROUP_STAGES:
        for index, group in enumerate(config.processors.groups(stage)):
            if (far := _ray(stage, group)) is not None:
                yield pool.seat_name(stage, index), far


def _group(stage: str, group: Group, secret: dict[str, str]) -> pool.ProcessorGroup:
    return pool.ProcessorGroup(
        bin=group.bin,
        args=group.args,
        stable_wait_seconds=group.stable_wait,
        envs={**group.envs, **secret},
        inherit_envs=group.inherit_envs,
        concurrent=group.slots,
        locks=group.locks,
        auto_restart=group.auto_restart,
        numa_preferred=group.numa_preferred,
        cgroup_group_name=group.cgroup.group_name,
        cgroup_cpuset=group.cgroup.cpuset,
        ray=_ray(stage, group),
    )
