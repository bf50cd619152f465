/// How many ranks a launcher says that there are; nil: nobody has started this process as one of several.
public func launchedRanks(_ environment: [String: String]) -> Int? {
    if let count = environment["OMPI_COMM_WORLD_SIZE"] { return Int(count) }
    // `srun --mpi=pmix`; without PMIx Slurm's tasks know nothing of each other.
    return environment["PMIX_RANK"] == nil ? nil : environment["SLURM_STEP_NUM_TASKS"].flatMap { Int($0) }
}

/// True for variables by which a launcher tells a process that it is a rank: a child of a rank is none and must not have them.
public func isRankVariable(_ name: String) -> Bool {
    ["OMPI_", "PMIX_", "PMI_", "ORTE_", "PRTE_"].contains { name.hasPrefix($0) }
}
