/* version.h: which Keymiss this is; pyproject.toml says the same. */
#ifndef KEYMISS_VERSION_H
#define KEYMISS_VERSION_H

enum { KEYMISS_VERSION = 100 }; /* as MODULE LIST shows it: 10,000 times the major number, 100 times the minor one */
#define KEYMISS_VERSION_TEXT "0.1.0"

#endif
