#ifndef CEXAMPLES_H
#define CEXAMPLES_H

#include <stddef.h>

/// A file of the folder Examples, as it was when the program was built.
struct bundled_file {
    /// Its path in the folder, ended by a zero.
    const char *_Nonnull name;
    /// Its bytes, and where they end; they live as long as the program.
    const unsigned char *_Nonnull bytes;
    const unsigned char *_Nonnull end;
};

/// The number of bundled files.
size_t bundled_file_count(void);

/// The bundled file of that index, below `bundled_file_count()`.
struct bundled_file bundled_file_at(size_t index);

#endif
