// swift-tools-version: 6.1
import PackageDescription

/// The folder of clang's libFuzzer, which `make fuzz` names: the readers then count the edges that they pass, and the
/// program `fuzz` drives them.
let fuzzer = Context.environment["MERASER_FUZZ"]

/// What counts edges. Optimised file by file, so that a mended reader is soon built again.
let coverage = ["-O", "-sanitize=fuzzer", "-sanitize-coverage=edge,inline-8bit-counters,pc-table,trace-cmp"]

/// Settings of every Swift target: Swift 6 language mode, `any` spelled out, an import for every module used.
let swiftSettings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ] + (fuzzer == nil ? [] : [.unsafeFlags(coverage)])

/// The program of `make fuzz`.
let fuzzTargets: [Target] =
    fuzzer.map {
        [
            .executableTarget(
                name: "fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Driver", swiftSettings: swiftSettings,
                linkerSettings: [
                    .unsafeFlags(["-L\($0)", "-Xlinker", "-l:libclang_rt.fuzzer_no_main-x86_64.a", "-lstdc++"])
                ])
        ]
    } ?? []

/// Zero-shot tasks that `meraser eval` knows; Pipeline/Tasks/TaskLibrary.swift lists the same.
let bundledTasks = [
    "sciq", "piqa", "arc_easy", "arc_challenge", "boolq", "hellaswag", "winogrande", "openbookqa", "copa", "rte", "cb",
    "wic", "wsc", "multirc", "record", "anli_r1", "anli_r2", "anli_r3", "logiqa", "headqa_en", "headqa_es",
    "truthfulqa_mc1", "truthfulqa_mc2", "lambada_openai", "wikitext", "gsm8k", "gsm8k_cot", "mmlu", "mmlu_pro",
]

let package = Package(
    name: "meraser",
    products: [
        .executable(name: "meraser", targets: ["meraser"])
    ],
    traits: [
        .trait(name: "MPI", description: "Work on several ranks under mpirun (needs Open MPI; see docs/scaling.md).")
    ],
    // Exact: what a release is made of is written down here, and `make sbom` lists it.
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1", traits: ["FullFoundation"]),
        .package(url: "https://github.com/hummingbird-project/swift-mustache", exact: "2.1.1"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
    ],
    targets: [
        .target(
            name: "CKernels",
            cSettings: [
                // Kernels are optimised in every configuration: a debug build of them is a hundred times slower.
                // SwiftPM has no settings for that and for blocks, hence the unsafe flags on this one target.
                .unsafeFlags(["-O3", "-fblocks", "-fno-math-errno", "-std=c11", "-Wall", "-Wextra"])
            ],
            linkerSettings: [.linkedLibrary("BlocksRuntime", .when(platforms: [.linux])), .linkedLibrary("m")]
        ),
        .target(name: "CAllocation"),
        // Open MPI; without the trait MPI an empty object and nothing to link.
        .target(
            name: "CMPI",
            cSettings: [.define("MERASER_MPI", .when(traits: ["MPI"]))],
            linkerSettings: [.linkedLibrary("mpi", .when(traits: ["MPI"]))]
        ),
        // The folder Examples in the program itself.
        .target(name: "CExamples", cSettings: [.headerSearchPath("../..")]),
        // What every room needs: JSON, settings, errors, checked arithmetic, atomic files and folders.
        .target(
            name: "Base", dependencies: [.product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: swiftSettings),
        .target(
            name: "Quant",
            dependencies: ["Base", "CKernels", .product(name: "Logging", package: "swift-log")],
            swiftSettings: swiftSettings
        ),
        .target(name: "Cluster", dependencies: ["Base", "CMPI"], swiftSettings: swiftSettings),
        .target(name: "Kernels", dependencies: ["Base", "CKernels", "Quant"], swiftSettings: swiftSettings),
        .target(
            name: "Model",
            dependencies: ["Base", "Quant", "Kernels", .product(name: "Collections", package: "swift-collections")],
            swiftSettings: swiftSettings
        ),
        .target(name: "Tune", dependencies: ["Base", "Quant", "Kernels", "Model"], swiftSettings: swiftSettings),
        .target(name: "Audit", dependencies: ["Base", "Quant", "Kernels", "Model"], swiftSettings: swiftSettings),
        .target(name: "Merge", dependencies: ["Base", "CKernels", "Quant", "Kernels"], swiftSettings: swiftSettings),
        .target(
            name: "Pipeline",
            dependencies: [
                "CExamples", "Base", "Quant", "Kernels", "Model", "Tune", "Audit", "Merge",
                .product(name: "Yams", package: "Yams"),
                .product(name: "Mustache", package: "swift-mustache"),
            ],
            // In the program itself: a binary that is copied elsewhere has its tasks with it.
            resources: bundledTasks.map { .embedInCode("Tasks/Bundled/\($0).yml") },
            swiftSettings: swiftSettings
        ),
        // A model behind an address: the server, and the client of any such server.
        .target(
            name: "Serve",
            dependencies: [
                "Base", "Quant", "Kernels", "Model", "Audit", "Pipeline",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            // In the program itself, as all that it shows.
            resources: ["page.html", "page.css", "page.js"].map { .embedInCode("Page/\($0)") },
            swiftSettings: swiftSettings
        ),
        .target(
            name: "Client",
            dependencies: [
                "Base", "Model", "Audit", "Pipeline",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
            ],
            swiftSettings: swiftSettings
        ),
        .executableTarget(
            name: "meraser",
            dependencies: [
                "CAllocation", "Base", "Cluster", "Quant", "Kernels", "Model", "Tune", "Audit", "Merge", "Pipeline",
                "Serve", "Client",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: swiftSettings
        ),
        .target(
            name: "TestSupport", dependencies: ["Base", "Quant"], path: "Tests/TestSupport",
            swiftSettings: swiftSettings),
        // Every reader of files as a function of bytes, for `make fuzz` and FuzzTests.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Base", "Quant", "Kernels", "Model", "Tune", "Audit", "Merge", "Pipeline", "Serve", "TestSupport",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
            ],
            path: "Tests/Fuzz/Targets", swiftSettings: swiftSettings),
        .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
        .testTarget(name: "BaseTests", dependencies: ["Base", "TestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "QuantTests", dependencies: ["Base", "Quant", "CKernels", "TestSupport"],
            resources: [.copy("Fixtures")],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "KernelsTests", dependencies: ["Base", "Kernels", "Quant", "CKernels", "TestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ModelTests", dependencies: ["Base", "Model", "Kernels", "Quant", "TestSupport"],
            resources: [.copy("Fixtures")], swiftSettings: swiftSettings),
        .testTarget(
            name: "TuneTests",
            dependencies: ["Base", "Tune", "Model", "Kernels", "Quant", "TestSupport", "AllocationCounter"],
            resources: [.copy("Fixtures")], swiftSettings: swiftSettings),
        .testTarget(
            name: "AuditTests",
            dependencies: [
                "Audit", "Base", "Model", "Kernels", "Quant", "TestSupport",
                .product(name: "Crypto", package: "swift-crypto"),
            ],
            resources: [.copy("Fixtures")], swiftSettings: swiftSettings),
        .testTarget(
            name: "MergeTests", dependencies: ["Base", "Merge", "Kernels", "Quant", "TestSupport"],
            resources: [.copy("Fixtures")],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "PipelineTests",
            dependencies: ["Base", "Pipeline", "Merge", "Audit", "Tune", "Model", "Kernels", "Quant", "TestSupport"],
            resources: [.copy("Fixtures")],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "ServeTests",
            dependencies: [
                "Serve", "Client", "Base", "Pipeline", "Audit", "Model", "Kernels", "Quant", "TestSupport",
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdTesting", package: "hummingbird"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "RankTests",
            dependencies: ["Base", "Pipeline", "Audit", "Tune", "Model", "Kernels", "Quant", "TestSupport"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"], swiftSettings: swiftSettings),
        .testTarget(
            name: "MeraserTests", dependencies: ["meraser", "Base", "Quant", "TestSupport"],
            swiftSettings: swiftSettings),
    ] + fuzzTargets
)
