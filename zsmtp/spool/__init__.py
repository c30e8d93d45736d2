"""The files of POSTOFFICE: control files, message files, marks and reports.  Knows no SMTP."""
