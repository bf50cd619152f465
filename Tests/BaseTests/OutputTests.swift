import Foundation
import TestSupport
import Testing

@testable import Base

private func names(_ folder: URL) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
}

private func makeFolder(_ parent: URL, _ name: String, files: [String] = []) throws -> URL {
    let folder = parent.appendingPathComponent(name)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for file in files { try Data([1]).write(to: folder.appendingPathComponent(file)) }
    return folder
}

@Suite("Outputs: locks, temporary names, what may be replaced")
struct OutputTests {
    @Test("a place has one lock by all its names, and gives it back")
    func lock() throws {
        try withTemporaryFolder { parent in
            let folder = try makeFolder(parent, "real")
            let link = parent.appendingPathComponent("link").path
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: folder.path)
            do {
                let lock = try OutputLock(folder.path + "/out")
                defer { withExtendedLifetime(lock) {} }
                #expect(try names(folder) == [".out.lock"])
                for name in [folder.path + "/out", link + "/out", folder.path + "/../real/./out"] {
                    let text = errorText(.runtime) { _ = try OutputLock(name) }
                    #expect(
                        text == "\(name) is being written by process \(getpid()); "
                            + "wait until it ends or choose another name")
                }
                _ = try OutputLock(folder.path + "/other")
            }
            #expect(try names(folder) == [])
            _ = try OutputLock(link + "/out")
        }
    }

    @Test("a lock file that a killed process has left is taken over")
    func staleLock() throws {
        try withTemporaryFolder { parent in
            try Data("1\n".utf8).write(to: parent.appendingPathComponent(".out.lock"))
            _ = try OutputLock(parent.path + "/out")
            #expect(try names(parent) == [])
        }
    }

    @Test("what is stale is removed, what is in use or is no temporary file of ours stays")
    func stale() throws {
        try withTemporaryFolder { parent in
            let used = try AtomicFile(path: parent.path + "/out")
            let folder = try AtomicFolder(path: parent.path + "/out")
            defer { withExtendedLifetime((used, folder)) {} }
            let living = try names(parent)
            let kept = ["out.tmp-1-a", ".out.tmp-x-a", ".other.tmp-1-a", ".out.tmp-1"]
            for name in [".out.tmp-1-ab", ".out.tmp-4194304-0"] + kept {
                try Data([1]).write(to: parent.appendingPathComponent(name))
            }
            _ = try makeFolder(parent, ".out.tmp-2-ff/deep", files: ["file"])
            removeStaleTemporaries(of: parent.path + "/out")
            #expect(try names(parent) == (living + kept).sorted())
        }
    }

    @Test("a folder that had made way for one which never came gets its name back")
    func recovered() throws {
        try withTemporaryFolder { parent in
            _ = try makeFolder(parent, ".out.old-1-a", files: ["kept"])
            removeStaleTemporaries(of: parent.path + "/out")
            #expect(try names(parent) == ["out"])
            _ = try makeFolder(parent, ".out.old-1-b", files: ["older"])
            removeStaleTemporaries(within: parent.path)
            #expect(try names(parent) == ["out"])
            #expect(try names(parent.appendingPathComponent("out")) == ["kept"])
        }
    }

    @Test("temporary folders are shown by the names that they will get")
    func shown() {
        #expect(TemporaryName.shown("/a/.out.tmp-12-ab/model.safetensors") == "/a/out/model.safetensors")
        #expect(TemporaryName.shown("/a/.out.tmp-x/b.tmp-1-a") == "/a/.out.tmp-x/b.tmp-1-a")
        let path = TemporaryName.make(for: "/a/out")
        #expect(TemporaryName.shown(path) == "/a/out")
    }

    @Test("only a folder that meraser made, with nothing else in it, is replaced")
    func ownership() throws {
        try withTemporaryFolder { parent in
            let path = parent.path + "/out"
            func replace() throws { try AtomicFolder(path: path, overwrite: true).commit() }
            let foreign = try makeFolder(parent, "out", files: ["thesis.tex"])
            #expect(errorText(.usage) { try replace() }.contains("\(path) has no .meraser.json"))
            #expect(try names(foreign) == ["thesis.tex"])
            // A file of that name which is no mark of ours.
            try Data("{}".utf8).write(to: foreign.appendingPathComponent(".meraser.json"))
            #expect(errorText(.usage) { try replace() }.contains("has no .meraser.json of it"))
            try FileManager.default.removeItem(at: foreign)

            let first = try AtomicFolder(path: path)
            try writeFileAtomically(path: first.temporaryPath + "/weights", [1])
            try first.commit()
            try replace()
            #expect(try names(foreign) == [".meraser.json"])
            try Data([1]).write(to: foreign.appendingPathComponent("notes.txt"))
            #expect(errorText(.usage) { try replace() }.contains("\(path) holds 'notes.txt'"))
            try FileManager.default.removeItem(at: foreign.appendingPathComponent("notes.txt"))
            _ = try makeFolder(foreign, ".git")
            #expect(errorText(.usage) { try replace() }.contains("holds '.git'"))
            try FileManager.default.removeItem(at: foreign)

            _ = try makeFolder(parent, "out")
            try replace()
            #expect(errorText(.usage) { _ = try AtomicFolder(path: "/", overwrite: true) }.contains("working folder"))
            let here = FileManager.default.currentDirectoryPath
            #expect(errorText(.usage) { _ = try AtomicFolder(path: here, overwrite: true) }.contains("working folder"))
        }
    }

    @Test("a run's folder goes only as a whole of known files with a record of ours")
    func layout() throws {
        try withTemporaryFolder { parent in
            let layout = RunLayout(record: "run.json", names: ["log"], numbered: ["checkpoint-"])
            let run = try makeFolder(parent, "run", files: ["run.json", "log", "checkpoint-4", ".run.json.tmp-1-a"])
            #expect(errorText(.usage) { try layout.remove(run.path) }.contains("run.json is no record"))
            let record = Data(#"{"meraser_version": "0.1.0"}"#.utf8)
            try record.write(to: run.appendingPathComponent("run.json"))
            try Data([1]).write(to: run.appendingPathComponent("checkpoint-x"))
            #expect(errorText(.usage) { try layout.remove(run.path) }.contains("holds 'checkpoint-x'"))
            try FileManager.default.removeItem(at: run.appendingPathComponent("checkpoint-x"))
            try layout.remove(run.path)
            #expect(try names(parent) == [])
        }
    }

    @Test("a canonical path has no links, and no dots even where nothing is")
    func canonical() throws {
        try withTemporaryFolder { parent in
            let root = canonicalPath(parent.path)
            let folder = try makeFolder(parent, "real/deep")
            let link = root + "/link"
            try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: folder.path)
            for (path, want) in [
                (link + "/../x", "/real/x"), ("\(root)/none/../real/./deep//", "/real/deep"),
                ("\(root)/none/deep/../../y", "/y"), ("\(link)/none/z", "/real/deep/none/z"),
            ] { #expect(canonicalPath(path) == root + want, "\(path)") }
            #expect(canonicalPath("/../..") == "/")
            #expect(canonicalPath(".") == canonicalPath(FileManager.default.currentDirectoryPath))
        }
    }

    @Test("an output that is, holds or lies in an input is refused by any name")
    func apart() throws {
        try withTemporaryFolder { parent in
            let model = try makeFolder(parent, "model", files: ["weights"])
            let root = parent.path
            let manager = FileManager.default
            try manager.createSymbolicLink(atPath: root + "/link", withDestinationPath: model.path)
            try manager.linkItem(atPath: root + "/model/weights", toPath: root + "/hard.mqf")
            try Data([2]).write(to: parent.appendingPathComponent("file"))
            try manager.linkItem(atPath: root + "/file", toPath: root + "/twin")
            let cases = [
                ("model", "model", "is the input"), ("link", "model", "is the input"),
                ("model", "link", "is the input"),
                ("", "model", "holds the input"), ("link/../../" + parent.lastPathComponent, "file", "holds the input"),
                ("model/weights", "model", "lies in the input"), ("link/weights", "model", "lies in the input"),
                ("twin", "file", "is the input"), ("hard.mqf", "model", "is the input"),
            ]
            for (output, input, what) in cases {
                let text = errorText(.usage) {
                    try requireApart(output: "\(root)/\(output)", inputs: ["\(root)/none", "\(root)/\(input)"])
                }
                #expect(text.contains(what), "\(output) from \(input): \(text)")
            }
            try requireApart(output: root + "/model2", inputs: [model.path, root + "/file", root + "/none"])
            try requireApart(output: root + "/new", inputs: [root + "/file"])
            try requireApart(output: root + "/model/new", inputs: [model.path])
        }
    }
}

@Suite("The build that made a record")
struct BuildTests {
    private let binary = Build(id: "aa")
    private let first = Build(id: Build.commitMark + "11")
    private let second = Build(id: Build.commitMark + "22")

    @Test("commits of the same numerics continue each other's work, other builds only their own")
    func obstacles() {
        #expect(binary.obstacle(continuing: binary) == nil && binary.note(continuing: binary) == nil)
        #expect(first.commit == "11" && binary.commit == nil)
        #expect(second.obstacle(continuing: first) == nil)
        #expect(second.note(continuing: first)?.contains("commit 11") == true)
        for (now, then) in [(binary, Build(id: "bb")), (binary, first), (first, binary)] {
            #expect(now.obstacle(continuing: then)?.contains("built anew") == true)
            #expect(now.note(continuing: then) == nil)
        }
    }

    @Test("other numerics, or a record without them, are an obstacle for every build")
    func numerics() {
        let other = Build(id: Build.commitMark + "11", numerics: numericsVersion + 1)
        #expect(first.obstacle(continuing: other)?.contains("numerics was \(numericsVersion + 1)") == true)
        #expect(first.obstacle(continuing: Build(record: .object(JSONObject())))?.contains("unknown") == true)
        #expect(Build(record: first.json) == first)
    }

    @Test("this program says its linker's build id, and damaged ELF files have none")
    func identity() throws {
        let id = try #require(Build.current.id)
        #expect(id.count >= 16 && id.allSatisfy(\.isHexDigit))
        // A header, one PT_NOTE at 64 and its note at 120 with the id 01 02 03 04.
        var file = [UInt8](repeating: 0, count: 140)
        file.replaceSubrange(0..<6, with: [0x7F, 0x45, 0x4C, 0x46, 2, 1])
        (file[32], file[54], file[56]) = (64, 56, 1)
        (file[64], file[64 + 8], file[64 + 32]) = (4, 120, 20)
        (file[120], file[124], file[128]) = (4, 4, 3)
        file.replaceSubrange(132..<136, with: Array("GNU\0".utf8))
        file.replaceSubrange(136..<140, with: [1, 2, 3, 4])
        #expect(file.withUnsafeBytes(elfBuildID) == "01020304")
        for index in file.indices {
            for value: UInt8 in [0, 1, 0x7F, 0xFF] {
                var damaged = file
                damaged[index] = value
                _ = damaged.withUnsafeBytes(elfBuildID)
            }
            #expect(Array(file[..<index]).withUnsafeBytes(elfBuildID) == nil)
        }
    }
}
