/// This program's version, as `--version` prints it and as MQF files record it.
public let meraserVersion = "0.1.0"
