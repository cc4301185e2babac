"""The sources of a batch: a reader for each format and kind of source, the columns that are used, and the records and ids that
become items. The template that they fill, and how a batch is opened, stay outside."""
