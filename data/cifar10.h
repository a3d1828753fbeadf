// The CIFAR-10 binary layout: data_batch_1.bin to data_batch_5.bin, test_batch.bin, batches.meta.txt.
//
// A batch file is a row of records of 3073 bytes: a label, then 32x32 pixels as R, G and B planes. A file may have any
// whole number of records, at least one. batches.meta.txt names the classes, one a line.
#pragma once

#include <string>
#include <vector>

#include "data/images.h"

namespace omniconv {

/// Reads the data set in the folder `path` or in its sub-folder cifar-10-batches-bin. Training records follow one
/// another in the order of the files. Without batches.meta.txt there are CIFAR-10's ten classes; blank lines in it
/// count for nothing.
/// @throws Error `[cifar10] FILE: expected ..., got ...`, with record and byte offset, for a missing, unreadable, empty
/// or truncated file, for class names that are not UTF-8 and for a label that the class list does not have.
ImageData read_cifar10(const std::string& path);

/// The class names alone, from the same places. @throws Error as read_cifar10 does for them.
std::vector<std::string> read_class_names(const std::string& path);

/// @throws Error unless `names` can stand in a batches.meta.txt: 1 to 256, each a line of UTF-8 that reads back as it
/// was.
void check_class_names(const std::vector<std::string>& names);

/// Writes `data` in that layout into the folder `path`, which is created; training images are spread evenly over the
/// five files, in order. Each file is written all or nothing. Data sets of the same class names are replaced.
/// @throws Error for fewer than five training images or one test image, for labels or names that could not be read
/// back, if the folder holds a data set of other classes, and if it cannot be written.
void write_cifar10(const std::string& path, const ImageData& data);

}  // namespace omniconv
